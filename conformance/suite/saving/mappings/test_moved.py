# SPDX-License-Identifier: GPL-2.0-only
"""Mappings that mremap() shrinks or moves: counted to the page wherever they are."""

import pytest

from conformance.model.layout import PAGE
from conformance.plugin.protocols import not_applicable
from conformance.suite.conftest import Find
from conformance.suite.support.mappings import Mappings
from conformance.uapi import mman

#: Of a process on amd64 with tables of four levels.
LAST_PAGE = (1 << 47) - 2 * PAGE
FIXED = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED


@pytest.mark.rule("saving.exact.mremap-shrink")
@pytest.mark.parametrize("pattern", ["Cf", "fC"])
def test_shrink(mappings: Mappings, window: Find, pattern: str) -> None:
    """Shrink a mapping of two pages to one, unmap that: judged to the page."""
    held = mappings.map(window(pattern, "CC"))
    left = mappings.mremap(held, 0, 2 * PAGE, PAGE)
    mappings.judge(f"{pattern} was shrunk to its first page")
    mappings.munmap(left)
    mappings.judge("that was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
@pytest.mark.parametrize("pattern", ["C", "fC", "Cf"])
def test_move(mappings: Mappings, window: Find, pattern: str) -> None:
    """Move a mapping, unmap it at its new place: it counts once, until then."""
    held = mappings.map(window(pattern, "CC"[: len(pattern)]))
    space = mappings.reserve(held.size)
    moved = mappings.mremap(held, 0, held.size, held.size, flags=FIXED, target=space)
    mappings.judge(f"{pattern} was moved")
    mappings.munmap(moved)
    mappings.judge("it was unmapped at its new place")


@pytest.mark.rule("saving.exact.mremap-move")
def test_move_to_the_top(mappings: Mappings, window: Find) -> None:
    """Move a mapping above all others, to the last page that a process has: it counts once."""
    held = mappings.map(window("C"))
    try:
        held = mappings.mremap(held, 0, PAGE, PAGE, flags=FIXED, target=LAST_PAGE)
    except OSError:
        not_applicable("the last page of the address space cannot be mapped here")
    mappings.judge("it was moved to the last page of the address space")
    mappings.munmap(held)
    mappings.judge("it was unmapped there")


@pytest.mark.rule("saving.exact.mremap-move")
def test_move_again_and_again(mappings: Mappings, window: Find) -> None:
    """Move a mapping there and back 20 times, unmap it: it counts once, until then."""
    held = mappings.map(window("C"))
    space = mappings.reserve(20 * PAGE)
    for turn in range(20):
        target = space + turn * PAGE
        held = mappings.mremap(held, 0, PAGE, PAGE, flags=FIXED, target=target)
    mappings.judge("a page was moved 20 times")
    mappings.munmap(held)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
def test_move_and_shrink(mappings: Mappings, window: Find) -> None:
    """Move a mapping and shrink it in one call: what was cut off no longer counts."""
    held = mappings.map(window("fC", "CC"))
    space = mappings.reserve(PAGE)
    moved = mappings.mremap(held, 0, 2 * PAGE, PAGE, flags=FIXED, target=space)
    mappings.judge("it was moved and cut to its first page")
    mappings.munmap(moved)
    mappings.judge("that was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
def test_move_over_a_mapping(mappings: Mappings, window: Find) -> None:
    """Move a page inside the areas over one outside: the one outside no longer counts."""
    lower, upper = mappings.map(window("C")), mappings.map(window("f", "C"))
    mappings.judge("both are mapped")
    moved = mappings.mremap(upper, 0, PAGE, PAGE, flags=FIXED, target=lower.address)
    mappings.judge("one was moved over the other")
    mappings.munmap(moved)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.exact.mremap-move-part")
@pytest.mark.parametrize("page", [0, 1, 2])
@pytest.mark.parametrize("first", ["moved", "left"])
def test_move_part(mappings: Mappings, window: Find, page: int, first: str) -> None:
    """Move one page of three, unmap the moved and the left ones: each counts until it goes."""
    held = mappings.map(window("fCf", "ffC", "CCC"))
    space = mappings.reserve(PAGE)
    part = mappings.mremap(held, page * PAGE, PAGE, PAGE, flags=FIXED, target=space)
    mappings.judge(f"page {page} was moved")
    for mapping in (part, held) if first == "moved" else (held, part):
        mappings.munmap(mapping)
        mappings.judge("one of the two was unmapped")


@pytest.mark.rule("saving.exact.mremap-dontunmap")
@pytest.mark.parametrize("first", ["old", "new"])
def test_dontunmap(mappings: Mappings, window: Find, first: str) -> None:
    """Move with MREMAP_DONTUNMAP, where the kernel does: both places count; else one does."""
    held = mappings.map(window("C"))
    both = [held]
    try:
        both.append(mappings.mremap_dontunmap(held, mman.MREMAP_MAYMOVE | mman.MREMAP_DONTUNMAP))
    except OSError:
        mappings.judge("MREMAP_DONTUNMAP was refused")
    for mapping in both if first == "old" else reversed(both):
        mappings.judge("it is mapped")
        mappings.munmap(mapping)
    mappings.judge("all of it was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
def test_duplicate(mappings: Mappings, window: Find) -> None:
    """Duplicate a mapping by mremap() from no bytes, where the kernel does: both count."""
    held = mappings.map(window("C"))
    both = [held]
    try:
        both.append(mappings.mremap_dontunmap(held, mman.MREMAP_MAYMOVE, from_size=0))
    except OSError:
        mappings.judge("the mapping was not duplicated")
    for mapping in both:
        mappings.judge("it is mapped")
        mappings.munmap(mapping)
    mappings.judge("all of it was unmapped")
