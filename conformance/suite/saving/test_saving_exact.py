# SPDX-License-Identifier: GPL-2.0-only
"""Mappings counted to the page: unmapped in parts, split, moved, replaced.

After each step the device must agree with the oracle: refuse while a conflicting page is left,
accept with the very next write once the last is gone.
"""

import random

import pytest

from conformance.model.boundaries import boundaries
from conformance.model.layout import PAGE
from conformance.plugin.checks import expect_equal
from conformance.suite.conftest import Find
from conformance.suite.support.mappings import Book
from conformance.suite.support.shapes import Window, layout_of, whole
from conformance.uapi import mman
from conformance.vfio.region import Region

SHARED_FIXED = mman.MAP_SHARED | mman.MAP_FIXED
TWO = pytest.mark.parametrize("shape", ["Cf", "fC"])
THREE = pytest.mark.parametrize("shape", ["fCf", "ffC"])


@TWO
@pytest.mark.rule("saving.exact.munmap-head")
def test_munmap_head(book: Book, window: Find, shape: str) -> None:
    """Unmap the head of a mapping, then its tail: judged to the page."""
    held = book.map(window(shape, "CC"))
    book.judge(f"{shape} is mapped")
    book.munmap(held, 0, PAGE)
    book.judge("the head was unmapped")
    book.munmap(held, PAGE, PAGE)
    book.judge("the tail was unmapped")


@TWO
@pytest.mark.rule("saving.exact.munmap-tail")
def test_munmap_tail(book: Book, window: Find, shape: str) -> None:
    """Unmap the tail of a mapping, then its head: judged to the page."""
    held = book.map(window(shape, "CC"))
    book.munmap(held, PAGE, PAGE)
    book.judge("the tail was unmapped")
    book.munmap(held, 0, PAGE)
    book.judge("the head was unmapped")


@THREE
@pytest.mark.rule("saving.exact.munmap-hole")
@pytest.mark.parametrize("then", [(0, 2), (2, 0)], ids=["head-next", "tail-next"])
def test_munmap_hole(book: Book, window: Find, shape: str, then: tuple[int, int]) -> None:
    """Unmap the middle of a mapping, then the two that are left: judged to the page."""
    held = book.map(window(shape, "CCC"))
    book.munmap(held, PAGE, PAGE)
    book.judge("the middle was unmapped")
    for page in then:
        book.munmap(held, page * PAGE, PAGE)
        book.judge(f"page {page} of the mapping was unmapped")


@pytest.mark.rule("saving.exact.munmap-spanning")
@pytest.mark.parametrize(("first", "pages"), [(0, 2), (1, 2), (0, 3), (1, 1)])
def test_munmap_spanning(book: Book, window: Find, first: int, pages: int) -> None:
    """Map a page three times side by side, unmap across them: what is left counts."""
    found, start = window("C"), book.reserve(3 * PAGE)
    for at in range(3):
        book.map(found, flags=SHARED_FIXED, address=start + at * PAGE)
    book.munmap_range(start + first * PAGE, pages * PAGE)
    book.judge(f"{pages} of three mappings were unmapped at once")
    book.munmap_range(start, 3 * PAGE)
    book.judge("all three were unmapped at once")


@THREE
@pytest.mark.rule("saving.exact.munmap-spanning")
def test_munmap_across_two_mappings(book: Book, window: Find, shape: str) -> None:
    """Map a range twice side by side, unmap across the two: judged to the page."""
    found = window(shape, "CCC", "CC")
    start = book.reserve(2 * found.size)
    for at in (start, start + found.size):
        book.map(found, flags=SHARED_FIXED, address=at)
    book.munmap_range(start + PAGE, found.size)
    book.judge("a range across two mappings was unmapped")
    book.munmap_range(start, PAGE)
    book.judge("the head of the first was unmapped")
    book.munmap_range(start, 2 * found.size)
    book.judge("the rest was unmapped")


@THREE
@pytest.mark.rule("saving.exact.split-mprotect")
@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0)], ids=["middle-first", "tail-first"])
def test_split_mprotect(book: Book, window: Find, shape: str, order: tuple[int, ...]) -> None:
    """Split a mapping by mprotect(), unmap the pieces one by one: judged to the page."""
    held = book.map(window(shape, "CCC"))
    held.local.mprotect(PAGE, PAGE, mman.PROT_READ)
    book.judge("the mapping was split")
    for page in order:
        book.munmap(held, page * PAGE, PAGE)
        book.judge(f"page {page} was unmapped")


@THREE
@pytest.mark.rule("saving.exact.split-mprotect")
def test_split_and_joined_again(book: Book, window: Find, shape: str) -> None:
    """Split a mapping by mprotect() and undo that, then unmap: judged to the page."""
    held = book.map(window(shape, "CCC"))
    held.local.mprotect(PAGE, PAGE, mman.PROT_NONE)
    held.local.mprotect(PAGE, PAGE, mman.PROT_READ | mman.PROT_WRITE)
    book.judge("the mapping was split and joined")
    book.munmap(held, 0, 2 * PAGE)
    book.judge("its first two pages were unmapped")
    book.munmap(held)
    book.judge("all of it was unmapped")


@THREE
@pytest.mark.rule("saving.exact.split-madvise")
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1)], ids=["middle-first", "middle-last"])
def test_split_madvise(book: Book, window: Find, shape: str, order: tuple[int, ...]) -> None:
    """Split a mapping by madvise(), unmap the pieces one by one: judged to the page."""
    held = book.map(window(shape, "CCC"))
    held.local.madvise(PAGE, PAGE, mman.MADV_RANDOM)
    book.judge("the mapping was split")
    for page in order:
        book.munmap(held, page * PAGE, PAGE)
        book.judge(f"page {page} was unmapped")


@pytest.mark.rule("saving.exact.split-madvise")
def test_madvise_dontfork(book: Book, window: Find) -> None:
    """Tell a mapping not to be inherited, fork, unmap: the child does not hold it."""
    held = book.map(window("C"))
    held.local.madvise(0, PAGE, mman.MADV_DONTFORK)
    child = book.fork()
    book.dropped(held, child)
    book.judge("a child was forked")
    book.munmap(held)
    book.judge("the parent unmapped, and the child never held it")


@THREE
@pytest.mark.rule("saving.exact.split-mlock")
def test_split_mlock(book: Book, window: Find, shape: str) -> None:
    """Lock the middle of a mapping, unmap the pieces one by one: judged to the page."""
    held = book.map(window(shape, "CCC"))
    held.local.mlock(PAGE, PAGE)
    book.judge("the middle was locked")
    held.local.munlock(0, 2 * PAGE)
    for page in (2, 0, 1):
        book.munmap(held, page * PAGE, PAGE)
        book.judge(f"page {page} was unmapped")


@pytest.mark.rule("saving.exact.map-fixed-over")
@pytest.mark.parametrize("shape", ["fCf", "Cff", "ffC"])
def test_replaced_by_memory(book: Book, window: Find, shape: str) -> None:
    """Put memory over each page of a mapping in turn: judged to the page."""
    held = book.map(window(shape, "CCC", "fCf"))
    for page in (1, 0, 2):
        book.replace(held, page * PAGE, PAGE)
        book.judge(f"page {page} was replaced")


@pytest.mark.rule("saving.exact.map-fixed-over")
@pytest.mark.parametrize(("below", "above"), [("C", "f"), ("f", "C"), ("C", "C")])
def test_replaced_by_the_device(book: Book, window: Find, below: str, above: str) -> None:
    """Map one page of the device over another: only the upper one counts."""
    lower = book.map(window(below))
    book.judge(f"{below} is mapped")
    upper = book.map_over(lower, 0, window(above))
    book.judge(f"{above} was mapped over it")
    book.munmap(upper)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.exact.map-fixed-over")
@pytest.mark.parametrize(("below", "above"), [("C", "f"), ("f", "C")])
def test_replaced_by_remap_file_pages(book: Book, window: Find, below: str, above: str) -> None:
    """Let a page show another one by remap_file_pages(): what it shows then counts."""
    held, other = book.map(window(below)), window(above)
    try:
        book.remap_file_pages(held, other)
    except OSError:
        book.judge("remap_file_pages() was refused")
    book.judge(f"{below} was mapped and then shows {above}")
    book.munmap(held)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.exact.many")
def test_many(book: Book, window: Find, rng: random.Random) -> None:
    """Map 300 single pages, unmap them in any order: refused until the last conflict goes."""
    shapes = [window("C"), window("f", "C")]
    held = [book.map(shapes[at % 2]) for at in range(300)]
    book.judge("300 pages are mapped")
    rng.shuffle(held)
    for at, mapping in enumerate(held):
        book.munmap(mapping)
        if at % 37 == 0 or at > 290:
            book.judge(f"{at + 1} of 300 were unmapped")


@pytest.mark.rule("saving.exact.many")
def test_many_pieces(book: Book, conflicting_regions: list[Region], rng: random.Random) -> None:
    """Map all of a region 20 times, unmap page by page in any order: judged now and then."""
    found = whole(conflicting_regions[0])
    size = min(found.size, 32 * PAGE)
    held = [book.map(Window(found.region, found.offset, size)) for _ in range(20)]
    pieces = [(mapping, at) for mapping in held for at in range(0, size, PAGE)]
    rng.shuffle(pieces)
    for number, (mapping, at) in enumerate(pieces):
        book.munmap(mapping, at, PAGE)
        if number % 19 == 0 or number > len(pieces) - 5:
            book.judge(f"{number + 1} of {len(pieces)} pages were unmapped")


@pytest.mark.rule("saving.exact.boundary")
@pytest.mark.parametrize("side", ["before", "after", "across"])
def test_boundary(book: Book, saving_regions: list[Region], side: str) -> None:
    """Map around each boundary of each saving area: judged to the page."""
    for region in saving_regions:
        for case in boundaries(layout_of(region)):
            if case.name.endswith(side):
                held = book.map(Window(region, *case.mapped))
                book.judge(f"{region.name} {case.name} is mapped")
                book.munmap(held)


@TWO
@pytest.mark.rule("saving.straddle")
def test_straddle(book: Book, window: Find, shape: str) -> None:
    """Map one page inside and one outside the saving areas: one outside is enough."""
    held = book.map(window(shape, "CC"))
    book.judge(f"{shape} is mapped")
    book.munmap(held)
    book.judge(f"{shape} was unmapped")


@pytest.mark.rule("saving.straddle")
def test_straddle_whole(book: Book, conflicting_regions: list[Region]) -> None:
    """Map a whole run-time area that reaches outside: it conflicts."""
    held = book.map(whole(conflicting_regions[0]))
    book.judge("a whole run-time area is mapped")
    book.munmap(held)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.untouched")
def test_untouched(book: Book, window: Find) -> None:
    """Map a page outside the areas and never touch it: it counts, before and after a touch."""
    held = book.map(window("C"))
    book.judge("a page is mapped and untouched")
    held.local.load(0)
    book.judge("it was touched")
    book.munmap(held)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.untouched")
def test_touched_inside_only(book: Book, window: Find) -> None:
    """Touch only the page inside the areas of a mapping across their edge: it conflicts."""
    held = book.map(window("fC", "CC"))
    held.local.load(0)
    book.judge("only the page inside was touched")
    book.munmap(held, PAGE, PAGE)
    book.judge("the page outside was unmapped, never touched")


@pytest.mark.rule("saving.exact.read-only")
@pytest.mark.parametrize("prot", [mman.PROT_READ, mman.PROT_NONE, mman.PROT_WRITE])
def test_protection(book: Book, window: Find, prot: int) -> None:
    """Map a page outside the areas with less than all access: it counts until unmapped."""
    held = book.map(window("C"), prot=prot)
    book.judge(f"a page is mapped with protection {prot}")
    book.munmap(held)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.exact.private")
def test_private(book: Book, window: Find) -> None:
    """Map a page outside the areas privately, where that can be done: it counts."""
    try:
        held = book.map(window("C"), flags=mman.MAP_PRIVATE)
    except OSError:
        book.judge("a private mapping was refused")
        return
    book.judge("a page is mapped privately")
    book.munmap(held)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.accept")
def test_failed_mmap_is_not_counted(book: Book, window: Find) -> None:
    """Fail to map where something is mapped already: nothing counts."""
    found, taken = window("C"), book.reserve(PAGE)
    refused = 0
    for _ in range(3):
        try:
            book.map(found, flags=mman.MAP_SHARED | mman.MAP_FIXED_NOREPLACE, address=taken)
        except OSError:
            refused += 1
    expect_equal(refused, 3, did="mmap where something is mapped, MAP_FIXED_NOREPLACE")
    book.judge("three mappings failed")
