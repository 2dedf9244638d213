# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of pages at which a count that is too narrow is 0 again."""

from collections.abc import Callable
from contextlib import ExitStack
from errno import EBUSY

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_errno, expect_success
from conformance.suite.conftest import Find
from conformance.vfio import trace
from conformance.vfio.children.children import Child

#: Pages that are mapped at once, and the processes that hold them: one may have 65530 mappings.
COUNTS = [(1 << 8, 1), (1 << 16, 32), ((1 << 16) + 32, 32)]


@pytest.mark.rule("saving.exact.many")
@pytest.mark.parametrize(("pages", "holders"), COUNTS, ids=[str(pages) for pages, _ in COUNTS])
def test_count(
    saver: Saver, window: Find, child: Callable[[], Child], pages: int, holders: int
) -> None:
    """Map so many conflicting pages, in processes by fork: refused; accepted when all are gone."""
    found = window("C")
    did = f"{pages} pages are mapped, in {holders} processes"
    with ExitStack() as mapped:
        with trace.quiet():
            for _ in range(pages // holders):
                mapped.enter_context(found.map())
            heirs = [child() for _ in range(holders - 1)]
        with expect_errno(EBUSY, did=f"{did}: {saver.words(saver.first)}"):
            saver.enter(saver.first)
        with trace.quiet():
            for heir in heirs:
                heir.kill()
    with expect_success(did=f"{did}, then unmapped: {saver.words(saver.first)}"):
        saver.enter(saver.first)
    saver.enter(Stage.RUNNING)
