# SPDX-License-Identifier: GPL-2.0-only
"""Mappings that mremap() shrinks or moves: counted to the page wherever they are."""

import pytest

from conformance.model.layout import PAGE
from conformance.suite.conftest import Find
from conformance.suite.support.mappings import Book
from conformance.uapi import mman

FIXED = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED


@pytest.mark.rule("saving.exact.mremap-shrink")
@pytest.mark.parametrize("shape", ["Cf", "fC"])
def test_shrink(book: Book, window: Find, shape: str) -> None:
    """Shrink a mapping of two pages to one, unmap that: judged to the page."""
    held = book.map(window(shape, "CC"))
    left = book.mremap(held, 0, 2 * PAGE, PAGE)
    book.judge(f"{shape} was shrunk to its first page")
    book.munmap(left)
    book.judge("that was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
@pytest.mark.parametrize("shape", ["C", "fC", "Cf"])
def test_move(book: Book, window: Find, shape: str) -> None:
    """Move a mapping, unmap it at its new place: it counts once, until then."""
    held = book.map(window(shape, "CC"[: len(shape)]))
    space = book.reserve(held.size)
    moved = book.mremap(held, 0, held.size, held.size, flags=FIXED, target=space)
    book.judge(f"{shape} was moved")
    book.munmap(moved)
    book.judge("it was unmapped at its new place")


@pytest.mark.rule("saving.exact.mremap-move")
def test_move_again_and_again(book: Book, window: Find) -> None:
    """Move a mapping there and back 20 times, unmap it: it counts once, until then."""
    held = book.map(window("C"))
    space = book.reserve(20 * PAGE)
    for turn in range(20):
        target = space + turn * PAGE
        held = book.mremap(held, 0, PAGE, PAGE, flags=FIXED, target=target)
    book.judge("a page was moved 20 times")
    book.munmap(held)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
def test_move_and_shrink(book: Book, window: Find) -> None:
    """Move a mapping and shrink it in one call: what was cut off no longer counts."""
    held = book.map(window("fC", "CC"))
    space = book.reserve(PAGE)
    moved = book.mremap(held, 0, 2 * PAGE, PAGE, flags=FIXED, target=space)
    book.judge("it was moved and cut to its first page")
    book.munmap(moved)
    book.judge("that was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
def test_move_over_a_mapping(book: Book, window: Find) -> None:
    """Move a page inside the areas over one outside: the one outside no longer counts."""
    lower, upper = book.map(window("C")), book.map(window("f", "C"))
    book.judge("both are mapped")
    moved = book.mremap(upper, 0, PAGE, PAGE, flags=FIXED, target=lower.address)
    book.judge("one was moved over the other")
    book.munmap(moved)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.exact.mremap-move-part")
@pytest.mark.parametrize("page", [0, 1, 2])
@pytest.mark.parametrize("first", ["moved", "left"])
def test_move_part(book: Book, window: Find, page: int, first: str) -> None:
    """Move one page of three, unmap the moved and the left ones: each counts until it goes."""
    held = book.map(window("fCf", "ffC", "CCC"))
    space = book.reserve(PAGE)
    part = book.mremap(held, page * PAGE, PAGE, PAGE, flags=FIXED, target=space)
    book.judge(f"page {page} was moved")
    for mapping in (part, held) if first == "moved" else (held, part):
        book.munmap(mapping)
        book.judge("one of the two was unmapped")


@pytest.mark.rule("saving.exact.mremap-dontunmap")
@pytest.mark.parametrize("first", ["old", "new"])
def test_dontunmap(book: Book, window: Find, first: str) -> None:
    """Move with MREMAP_DONTUNMAP, where the kernel does: both places count; else one does."""
    held = book.map(window("C"))
    both = [held]
    try:
        both.append(book.mremap_dontunmap(held, mman.MREMAP_MAYMOVE | mman.MREMAP_DONTUNMAP))
    except OSError:
        book.judge("MREMAP_DONTUNMAP was refused")
    for mapping in both if first == "old" else reversed(both):
        book.judge("it is mapped")
        book.munmap(mapping)
    book.judge("all of it was unmapped")


@pytest.mark.rule("saving.exact.mremap-move")
def test_duplicate(book: Book, window: Find) -> None:
    """Duplicate a mapping by mremap() from no bytes, where the kernel does: both count."""
    held = book.map(window("C"))
    both = [held]
    try:
        both.append(book.mremap_dontunmap(held, mman.MREMAP_MAYMOVE, from_size=0))
    except OSError:
        book.judge("the mapping was not duplicated")
    for mapping in both:
        book.judge("it is mapped")
        book.munmap(mapping)
    book.judge("all of it was unmapped")
