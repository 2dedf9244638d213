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
from conformance.vfio import trace
from conformance.vfio.children.children import Child

#: Pages that are mapped, and the processes that hold them: one may have 65530 mappings.
COUNTS = [(1 << 8, 1), (1 << 16, 32)]
#: Pages that are mapped on top, in one process.
MORE = 32


def _hold(found: Window, count: int, mapped: ExitStack) -> None:
    for _ in range(count):
        mapped.enter_context(found.map())


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
