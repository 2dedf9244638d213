# SPDX-License-Identifier: GPL-2.0-only
"""Changes of mappings that fail half way, on a kernel that can make them fail."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from errno import EBUSY

import pytest

from conformance.kernel import faults
from conformance.migration.saver import Saver, Stage
from conformance.model.layout import PAGE
from conformance.plugin.checks import expect_success
from conformance.suite.conftest import Find
from conformance.suite.support.cases import named
from conformance.suite.support.failing import Sweep, expect_clean
from conformance.uapi import mman
from conformance.vfio.memory.mapping import Mapping, reserve

pytestmark = pytest.mark.skipif(bool(faults.missing()), reason=faults.missing() or "no reason")


@dataclass
class Held:
    """Two pages, mapped and touched, of which one conflicts; mapped anew after a change."""

    window: Callable[[], Mapping]
    saver: Saver
    mapping: Mapping

    def renew(self, _result: object = None) -> None:
        """Unmap what is left and map it again."""
        self.mapping.close()
        self.mapping = self.window()
        self.mapping.load(0)

    def refused(self) -> bool:
        """Whether saving is refused, as it must be while both are mapped."""
        errno = self.saver.attempt(Stage.STOP_COPY)
        if errno is None:
            self.saver.enter(Stage.RUNNING)
        return errno == EBUSY


def _munmap(held: Held) -> object:
    held.mapping.munmap(0, PAGE)
    return None


def _mprotect(held: Held) -> object:
    held.mapping.mprotect(PAGE, PAGE, mman.PROT_READ)
    return None


def _mremap(held: Held) -> object:
    target = reserve(2 * PAGE)
    flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
    try:
        held.mapping = held.mapping.mremap(0, 2 * PAGE, 2 * PAGE, flags, target.address)
    except OSError:
        target.close()
        raise
    return None


def _fork(_held: Held) -> object:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return None


CHANGES = {
    "munmap": (_munmap, Sweep()),
    "mprotect": (_mprotect, Sweep()),
    "mremap": (_mremap, Sweep()),
    # Copies all of Python's own mappings too.
    "fork": (_fork, Sweep(step=7)),
}


@pytest.mark.rule("robust.accounting")
@pytest.mark.parametrize(("change", "sweep"), named(CHANGES))
def test_accounting(
    saver: Saver, window: Find, change: Callable[[Held], object], sweep: Sweep
) -> None:
    """Let a change of a mapping fail half way: it still conflicts, and not once it is unmapped."""
    found = window("CC", "Cf", "fC")
    held = Held(found.map, saver, found.map())
    held.mapping.load(0)
    expect_clean(
        lambda: change(held),
        did=f"{change.__name__[1:]} a mapping, or a part of it",
        probe=held.refused,
        undo=held.renew,
        sweep=sweep,
    )
    held.mapping.close()
    with expect_success(did=f"{saver.words(Stage.STOP_COPY)} with everything unmapped"):
        saver.enter(Stage.STOP_COPY)
