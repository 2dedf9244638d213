# SPDX-License-Identifier: GPL-2.0-only
"""Runs tests without what pytest does for a reader of its output.

The events say all that there is to say of a test. Under emulation pytest's own report of each
phase, and the search for garbage among what was loaded before, take longer than most tests.
"""

import functools
import gc
import mmap
import os
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
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Keep what was imported and collected out of the search for garbage.

        All conftest.py files are known by now, so which of them see a test's hooks is found once.
        It is asked for some thirty times per test.
        """
        found = functools.cache(session.gethookproxy)
        session.gethookproxy = found  # type: ignore[assignment, method-assign]
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
                report.location = item.location
                item.ihook.pytest_runtest_logreport(report=report)
        self._tidy()
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> pytest.TestReport | None:
        """Make a report of a phase that raised nothing: the keywords of the test are for readers.

        So is its place in a file, which is added if the kernel is found to have reported trouble.
        """
        if call.excinfo is not None:
            return None
        return pytest.TestReport(
            item.nodeid,
            location=("", None, ""),
            keywords={},
            outcome="passed",
            longrepr=None,
            when=call.when,  # type: ignore[arg-type]
            duration=call.duration,
            start=call.start,
            stop=call.stop,
        )

    def _tidy(self) -> None:
        """Search for garbage if this process has grown; a worker begins with what it inherits."""
        if _resident() > self._most:
            gc.collect()
            self._most = _resident() + _GROWTH


def _resident() -> int:
    """Return the bytes of memory that this process takes."""
    return int(os.pread(_statm(os.getpid()), 64, 0).split()[1]) * _PAGE


@functools.cache
def _statm(pid: int) -> int:
    """Open the file that says it, once per process: a worker begins with its parent's."""
    return os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
