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
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.windows import Window, layout_of, whole
from conformance.uapi import mman
from conformance.vfio.region import Region

SHARED_FIXED = mman.MAP_SHARED | mman.MAP_FIXED
TWO = pytest.mark.parametrize("pattern", ["Cf", "fC"])
THREE = pytest.mark.parametrize("pattern", ["fCf", "ffC"])


@TWO
@pytest.mark.rule("saving.exact.munmap-head")
def test_munmap_head(mappings: Mappings, window: Find, pattern: str) -> None:
    """Unmap the head of a mapping, then its tail: judged to the page."""
    held = mappings.map(window(pattern, "CC"))
    mappings.judge(f"{pattern} is mapped")
    mappings.munmap(held, 0, PAGE)
    mappings.judge("the head was unmapped")
    mappings.munmap(held, PAGE, PAGE)
    mappings.judge("the tail was unmapped")


@TWO
@pytest.mark.rule("saving.exact.munmap-tail")
def test_munmap_tail(mappings: Mappings, window: Find, pattern: str) -> None:
    """Unmap the tail of a mapping, then its head: judged to the page."""
    held = mappings.map(window(pattern, "CC"))
    mappings.munmap(held, PAGE, PAGE)
    mappings.judge("the tail was unmapped")
    mappings.munmap(held, 0, PAGE)
    mappings.judge("the head was unmapped")


@THREE
@pytest.mark.rule("saving.exact.munmap-hole")
@pytest.mark.parametrize("then", [(0, 2), (2, 0)], ids=["head-next", "tail-next"])
def test_munmap_hole(mappings: Mappings, window: Find, pattern: str, then: tuple[int, int]) -> None:
    """Unmap the middle of a mapping, then the two that are left: judged to the page."""
    held = mappings.map(window(pattern, "CCC"))
    mappings.munmap(held, PAGE, PAGE)
    mappings.judge("the middle was unmapped")
    for page in then:
        mappings.munmap(held, page * PAGE, PAGE)
        mappings.judge(f"page {page} of the mapping was unmapped")


@pytest.mark.rule("saving.exact.munmap-spanning")
@pytest.mark.parametrize(("first", "pages"), [(0, 2), (1, 2), (0, 3), (1, 1)])
def test_munmap_spanning(mappings: Mappings, window: Find, first: int, pages: int) -> None:
    """Map a page three times side by side, unmap across them: what is left counts."""
    found, start = window("C"), mappings.reserve(3 * PAGE)
    for at in range(3):
        mappings.map(found, flags=SHARED_FIXED, address=start + at * PAGE)
    mappings.munmap_range(start + first * PAGE, pages * PAGE)
    mappings.judge(f"{pages} of three mappings were unmapped at once")
    mappings.munmap_range(start, 3 * PAGE)
    mappings.judge("all three were unmapped at once")


@THREE
@pytest.mark.rule("saving.exact.munmap-spanning")
def test_munmap_across_two_mappings(mappings: Mappings, window: Find, pattern: str) -> None:
    """Map a range twice side by side, unmap across the two: judged to the page."""
    found = window(pattern, "CCC", "CC")
    start = mappings.reserve(2 * found.size)
    for at in (start, start + found.size):
        mappings.map(found, flags=SHARED_FIXED, address=at)
    mappings.munmap_range(start + PAGE, found.size)
    mappings.judge("a range across two mappings was unmapped")
    mappings.munmap_range(start, PAGE)
    mappings.judge("the head of the first was unmapped")
    mappings.munmap_range(start, 2 * found.size)
    mappings.judge("the rest was unmapped")


@THREE
@pytest.mark.rule("saving.exact.split-mprotect")
@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0)], ids=["middle-first", "tail-first"])
def test_split_mprotect(
    mappings: Mappings, window: Find, pattern: str, order: tuple[int, ...]
) -> None:
    """Split a mapping by mprotect(), unmap the pieces one by one: judged to the page."""
    held = mappings.map(window(pattern, "CCC"))
    held.local.mprotect(PAGE, PAGE, mman.PROT_READ)
    mappings.judge("the mapping was split")
    for page in order:
        mappings.munmap(held, page * PAGE, PAGE)
        mappings.judge(f"page {page} was unmapped")


@THREE
@pytest.mark.rule("saving.exact.split-mprotect")
def test_split_and_joined_again(mappings: Mappings, window: Find, pattern: str) -> None:
    """Split a mapping by mprotect() and undo that, then unmap: judged to the page."""
    held = mappings.map(window(pattern, "CCC"))
    held.local.mprotect(PAGE, PAGE, mman.PROT_NONE)
    held.local.mprotect(PAGE, PAGE, mman.PROT_READ | mman.PROT_WRITE)
    mappings.judge("the mapping was split and joined")
    mappings.munmap(held, 0, 2 * PAGE)
    mappings.judge("its first two pages were unmapped")
    mappings.munmap(held)
    mappings.judge("all of it was unmapped")


@THREE
@pytest.mark.rule("saving.exact.split-madvise")
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1)], ids=["middle-first", "middle-last"])
def test_split_madvise(
    mappings: Mappings, window: Find, pattern: str, order: tuple[int, ...]
) -> None:
    """Split a mapping by madvise(), unmap the pieces one by one: judged to the page."""
    held = mappings.map(window(pattern, "CCC"))
    held.local.madvise(PAGE, PAGE, mman.MADV_RANDOM)
    mappings.judge("the mapping was split")
    for page in order:
        mappings.munmap(held, page * PAGE, PAGE)
        mappings.judge(f"page {page} was unmapped")


@pytest.mark.rule("saving.exact.split-madvise")
def test_madvise_dontfork(mappings: Mappings, window: Find) -> None:
    """Tell a mapping not to be inherited, fork, unmap: the child does not hold it."""
    held = mappings.map(window("C"))
    held.local.madvise(0, PAGE, mman.MADV_DONTFORK)
    child = mappings.fork()
    mappings.dropped(held, child)
    mappings.judge("a child was forked")
    mappings.munmap(held)
    mappings.judge("the parent unmapped, and the child never held it")


@THREE
@pytest.mark.rule("saving.exact.split-mlock")
def test_split_mlock(mappings: Mappings, window: Find, pattern: str) -> None:
    """Lock the middle of a mapping, unmap the pieces one by one: judged to the page."""
    held = mappings.map(window(pattern, "CCC"))
    held.local.mlock(PAGE, PAGE)
    mappings.judge("the middle was locked")
    held.local.munlock(0, 2 * PAGE)
    for page in (2, 0, 1):
        mappings.munmap(held, page * PAGE, PAGE)
        mappings.judge(f"page {page} was unmapped")


@pytest.mark.rule("saving.exact.map-fixed-over")
@pytest.mark.parametrize("pattern", ["fCf", "Cff", "ffC"])
def test_replaced_by_memory(mappings: Mappings, window: Find, pattern: str) -> None:
    """Put memory over each page of a mapping in turn: judged to the page."""
    held = mappings.map(window(pattern, "CCC", "fCf"))
    for page in (1, 0, 2):
        mappings.replace(held, page * PAGE, PAGE)
        mappings.judge(f"page {page} was replaced")


@pytest.mark.rule("saving.exact.map-fixed-over")
@pytest.mark.parametrize(("below", "above"), [("C", "f"), ("f", "C"), ("C", "C")])
def test_replaced_by_the_device(mappings: Mappings, window: Find, below: str, above: str) -> None:
    """Map one page of the device over another: only the upper one counts."""
    lower = mappings.map(window(below))
    mappings.judge(f"{below} is mapped")
    upper = mappings.map_over(lower, 0, window(above))
    mappings.judge(f"{above} was mapped over it")
    mappings.munmap(upper)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.exact.map-fixed-over")
@pytest.mark.parametrize(("below", "above"), [("C", "f"), ("f", "C")])
def test_replaced_by_remap_file_pages(
    mappings: Mappings, window: Find, below: str, above: str
) -> None:
    """Let a page show another one by remap_file_pages(): what it shows then counts."""
    held, other = mappings.map(window(below)), window(above)
    try:
        mappings.remap_file_pages(held, other)
    except OSError:
        mappings.judge("remap_file_pages() was refused")
    mappings.judge(f"{below} was mapped and then shows {above}")
    mappings.munmap(held)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.exact.many")
def test_many(mappings: Mappings, window: Find, rng: random.Random) -> None:
    """Map 300 single pages, unmap them in any order: refused until the last conflict goes."""
    patterns = [window("C"), window("f", "C")]
    held = [mappings.map(patterns[at % 2]) for at in range(300)]
    mappings.judge("300 pages are mapped")
    rng.shuffle(held)
    for at, mapping in enumerate(held):
        mappings.munmap(mapping)
        if at % 37 == 0 or at > 290:
            mappings.judge(f"{at + 1} of 300 were unmapped")


@pytest.mark.rule("saving.exact.many")
def test_many_pieces(
    mappings: Mappings, conflicting_regions: list[Region], rng: random.Random
) -> None:
    """Map all of a region 20 times, unmap page by page in any order: judged now and then."""
    found = whole(conflicting_regions[0])
    size = min(found.size, 32 * PAGE)
    held = [mappings.map(Window(found.region, found.offset, size)) for _ in range(20)]
    pieces = [(mapping, at) for mapping in held for at in range(0, size, PAGE)]
    rng.shuffle(pieces)
    for number, (mapping, at) in enumerate(pieces):
        mappings.munmap(mapping, at, PAGE)
        if number % 19 == 0 or number > len(pieces) - 5:
            mappings.judge(f"{number + 1} of {len(pieces)} pages were unmapped")


@pytest.mark.rule("saving.exact.boundary")
@pytest.mark.parametrize("side", ["before", "after", "across"])
def test_boundary(mappings: Mappings, saving_regions: list[Region], side: str) -> None:
    """Map around each boundary of each saving area: judged to the page."""
    for region in saving_regions:
        for case in boundaries(layout_of(region)):
            if case.name.endswith(side):
                held = mappings.map(Window(region, *case.mapped))
                mappings.judge(f"{region.name} {case.name} is mapped")
                mappings.munmap(held)


@TWO
@pytest.mark.rule("saving.straddle")
def test_straddle(mappings: Mappings, window: Find, pattern: str) -> None:
    """Map one page inside and one outside the saving areas: one outside is enough."""
    held = mappings.map(window(pattern, "CC"))
    mappings.judge(f"{pattern} is mapped")
    mappings.munmap(held)
    mappings.judge(f"{pattern} was unmapped")


@pytest.mark.rule("saving.straddle")
def test_straddle_whole(mappings: Mappings, conflicting_regions: list[Region]) -> None:
    """Map a whole run-time area that reaches outside: it conflicts."""
    held = mappings.map(whole(conflicting_regions[0]))
    mappings.judge("a whole run-time area is mapped")
    mappings.munmap(held)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.untouched")
def test_untouched(mappings: Mappings, window: Find) -> None:
    """Map a page outside the areas and never touch it: it counts, before and after a touch."""
    held = mappings.map(window("C"))
    mappings.judge("a page is mapped and untouched")
    held.local.load(0)
    mappings.judge("it was touched")
    mappings.munmap(held)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.untouched")
def test_touched_inside_only(mappings: Mappings, window: Find) -> None:
    """Touch only the page inside the areas of a mapping across their edge: it conflicts."""
    held = mappings.map(window("fC", "CC"))
    held.local.load(0)
    mappings.judge("only the page inside was touched")
    mappings.munmap(held, PAGE, PAGE)
    mappings.judge("the page outside was unmapped, never touched")


@pytest.mark.rule("saving.exact.read-only")
@pytest.mark.parametrize("prot", [mman.PROT_READ, mman.PROT_NONE, mman.PROT_WRITE])
def test_protection(mappings: Mappings, window: Find, prot: int) -> None:
    """Map a page outside the areas with less than all access: it counts until unmapped."""
    held = mappings.map(window("C"), prot=prot)
    mappings.judge(f"a page is mapped with protection {prot}")
    mappings.munmap(held)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.exact.private")
def test_private(mappings: Mappings, window: Find) -> None:
    """Map a page outside the areas privately, where that can be done: it counts."""
    try:
        held = mappings.map(window("C"), flags=mman.MAP_PRIVATE)
    except OSError:
        mappings.judge("a private mapping was refused")
        return
    mappings.judge("a page is mapped privately")
    mappings.munmap(held)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.accept")
def test_failed_mmap_is_not_counted(mappings: Mappings, window: Find) -> None:
    """Fail to map where something is mapped already: nothing counts."""
    found, taken = window("C"), mappings.reserve(PAGE)
    refused = 0
    for _ in range(3):
        try:
            mappings.map(found, flags=mman.MAP_SHARED | mman.MAP_FIXED_NOREPLACE, address=taken)
        except OSError:
            refused += 1
    expect_equal(refused, 3, did="mmap where something is mapped, MAP_FIXED_NOREPLACE")
    mappings.judge("three mappings failed")
