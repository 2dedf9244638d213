# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of pages at which a count that is too narrow is 0 again."""

from collections.abc import Callable
from contextlib import ExitStack
from errno import EBUSY

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_errno, expect_success
from conformance.suite.conftest import Find
from conformance.suite.support.windows import Window
from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.children.children import Child
from conformance.vfio.memory import libc
from conformance.vfio.memory.mapping import reserve

#: Pages that are mapped, and the processes that hold them: one may have 65530 mappings.
COUNTS = [(1 << 8, 1), (1 << 16, 32)]
#: Pages that are mapped on top, in one process.
MORE = 32


def _hold(found: Window, count: int, mapped: ExitStack) -> None:
    """Map the window so many times, each by itself, until the block ends."""
    place = mapped.enter_context(reserve(count * found.size))
    prot, flags = mman.PROT_READ | mman.PROT_WRITE, mman.MAP_SHARED | mman.MAP_FIXED
    fd, offset = found.region.device.fd, found.region.offset + found.offset
    for number in range(count):  # nothing more: it is most of what the test does
        libc.mmap(place.address + number * found.size, found.size, prot, flags, fd, offset)


def _expect_refused(saver: Saver, did: str) -> None:
    __tracebackhide__ = True
    with expect_errno(EBUSY, did=f"{did}: {saver.words(saver.first)}"):
        saver.enter(saver.first)


@pytest.mark.rule("saving.exact.many")
@pytest.mark.parametrize(("pages", "holders"), COUNTS, ids=[str(pages) for pages, _ in COUNTS])
def test_count(
    saver: Saver, window: Find, child: Callable[[], Child], pages: int, holders: int
) -> None:
    """Map so many conflicting pages, by fork, and more: refused; accepted when all are gone."""
    found, did = window("C"), f"{pages} pages are mapped, in {holders} processes"
    with ExitStack() as mapped:
        with trace.quiet():
            _hold(found, pages // holders, mapped)
            heirs = [child() for _ in range(holders - 1)]
        _expect_refused(saver, did)
        with trace.quiet():
            _hold(found, MORE, mapped)
        _expect_refused(saver, f"{did}, and {MORE} more")
        with trace.quiet():
            for heir in heirs:
                heir.kill()
    with expect_success(did=f"{did} and unmapped: {saver.words(saver.first)}"):
        saver.enter(saver.first)
    saver.enter(Stage.RUNNING)
