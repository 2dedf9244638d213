# SPDX-License-Identifier: GPL-2.0-only
"""Runs tests without what pytest does for a reader of its output.

The events say all that there is to say of a test. Under emulation pytest's own report of each
phase, and the search for garbage among what was loaded before, take longer than most tests.
"""

import gc
import mmap
from pathlib import Path
from typing import Final

import pytest
from _pytest.runner import runtestprotocol

_ALLOCATIONS: Final = 20_000
"""Objects made between two searches for garbage; Python's default is 700 or 2000."""

_GROWTH: Final = 48 << 20
"""Bytes by which a process may grow before all is searched: a long stream is few objects."""

_PAGE: Final = mmap.PAGESIZE


def add_options(group: pytest.OptionGroup) -> None:
    """Declare the option."""
    group.addoption(
        "--vfio-terse",
        action="store_true",
        help="pytest itself reports only tests that do not pass; what the events say is the same",
    )


class Terse:
    """The hooks that take the place of pytest's."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._most = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Do not search for garbage among what is collected: all of it is kept."""
        gc.disable()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Keep what was imported and collected out of the search for garbage."""
        gc.freeze()
        gc.enable()
        gc.set_threshold(_ALLOCATIONS, 20, 100)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Leave the process as it was."""
        gc.unfreeze()
        gc.enable()
        gc.set_threshold(*self._before)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test; log its phases only if one is no success."""
        for report in runtestprotocol(item, log=False, nextitem=nextitem):
            if not report.passed:
                item.ihook.pytest_runtest_logreport(report=report)
        self._tidy()
        return True

    def _tidy(self) -> None:
        """Search for garbage if this process has grown; a worker begins with what it inherits."""
        if _resident() > self._most:
            gc.collect()
            self._most = _resident() + _GROWTH


def _resident() -> int:
    """Return the bytes of memory that this process takes."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
