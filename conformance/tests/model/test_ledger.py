# SPDX-License-Identifier: GPL-2.0-only
"""The oracle of outstanding mappings, each system call for itself."""

import pytest

from conformance.model.layout import PAGE, Layout
from conformance.model.ledger import Ledger, Page

BAR = 0
AT = 0x7F00_0000_0000
#: Pages 0, 1, 3 may stay mapped while saving, page 2 may not.
LAYOUT = Layout(4 * PAGE, ((0, 4 * PAGE),), ((0, 2 * PAGE), (3 * PAGE, PAGE)))
TRAP = 2 * PAGE


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger({BAR: LAYOUT, 1: Layout(PAGE, ((0, PAGE),), ()), 2: Layout(PAGE, ((0, PAGE),))})
    made.mmap("parent", AT, BAR, 0, 4 * PAGE)
    return made


def test_nothing_mapped_may_save() -> None:
    assert Ledger({BAR: LAYOUT}).may_save()


def test_whole_mapping_conflicts_with_its_trapped_page(ledger: Ledger) -> None:
    assert ledger.conflicts() == (("parent", Page(BAR, TRAP)),)


@pytest.mark.parametrize(("page", "may_save"), [(0, False), (1, False), (2, True), (3, False)])
def test_only_unmapping_the_trapped_page_helps(ledger: Ledger, page: int, may_save: bool) -> None:
    ledger.munmap("parent", AT + page * PAGE, PAGE)
    assert ledger.may_save() is may_save


def test_a_second_mapping_of_the_page_counts_too(ledger: Ledger) -> None:
    ledger.mmap("parent", AT + 16 * PAGE, BAR, TRAP, PAGE)
    ledger.munmap("parent", AT, 4 * PAGE)
    assert not ledger.may_save()


def test_mapping_over_it_replaces(ledger: Ledger) -> None:
    ledger.mmap("parent", AT + TRAP, BAR, 0, PAGE)
    assert ledger.may_save()


def test_a_move_keeps_it_once(ledger: Ledger) -> None:
    ledger.mremap("parent", AT + TRAP, PAGE, AT + 64 * PAGE, PAGE)
    ledger.munmap("parent", AT, 4 * PAGE)
    assert not ledger.may_save()
    ledger.munmap("parent", AT + 64 * PAGE, PAGE)
    assert ledger.may_save()


def test_a_shrink_drops_the_tail(ledger: Ledger) -> None:
    ledger.mremap("parent", AT, 4 * PAGE, AT, 2 * PAGE)
    assert ledger.may_save()


def test_dontunmap_keeps_both(ledger: Ledger) -> None:
    ledger.mremap_dontunmap("parent", AT, 4 * PAGE, AT + 64 * PAGE)
    ledger.munmap("parent", AT, 4 * PAGE)
    assert not ledger.may_save()
    ledger.munmap("parent", AT + 64 * PAGE, 4 * PAGE)
    assert ledger.may_save()


@pytest.mark.parametrize("first", ["parent", "child"])
def test_fork_copies_and_each_counts(ledger: Ledger, first: str) -> None:
    ledger.fork("parent", "child")
    ledger.munmap(first, AT, 4 * PAGE)
    assert not ledger.may_save()
    ledger.end("child" if first == "parent" else "parent")
    assert ledger.may_save()


def test_regions_are_judged_each_by_its_layout() -> None:
    ledger = Ledger({1: Layout(PAGE, ((0, PAGE),), ()), 2: Layout(PAGE, ((0, PAGE),))})
    ledger.mmap("a", AT, 2, 0, PAGE)
    assert ledger.may_save()
    ledger.mmap("a", AT + PAGE, 1, 0, PAGE)
    assert ledger.conflicts() == (("a", Page(1, 0)),)


def test_a_stranger_holds_nothing(ledger: Ledger) -> None:
    ledger.end("nobody")
    ledger.munmap("nobody", AT, PAGE)
    assert ledger.pages("nobody", AT, PAGE) == {}
    assert not ledger.may_save()
