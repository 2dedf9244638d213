# SPDX-License-Identifier: GPL-2.0-only
"""Which pages of a region conflict with a saving layout: interval arithmetic, nothing else.

A range is a pair (offset, size) of bytes from the start of its region.
"""

import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

PAGE: Final = mmap.PAGESIZE

Range = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """What of a region can be mapped, and what of that may stay mapped while saving.

    Attributes:
        size: bytes of the region.
        runtime: the ranges that can be mapped while the device is not saving.
        saving: the ranges that may be mapped while it saves; None if the region has no
            saving capability: then the run-time layout holds.
    """

    size: int
    runtime: tuple[Range, ...]
    saving: tuple[Range, ...] | None = None

    @property
    def restricted(self) -> tuple[Range, ...]:
        """The mappable ranges outside every saving area, ascending, cut at run-time areas."""
        if self.saving is None:
            return ()
        return tuple(
            piece for area in sorted(self.runtime) for piece in difference(area, self.saving)
        )

    @property
    def free(self) -> tuple[Range, ...]:
        """The mappable ranges that may stay mapped while saving, ascending."""
        saving = self.runtime if self.saving is None else self.saving
        return tuple(
            piece
            for area in sorted(self.runtime)
            for piece in difference(area, difference(area, saving))
        )

    def conflicts(self, mapped: Range) -> bool:
        """Return whether a mapping of the range conflicts with saving: one page is enough."""
        return self.saving is not None and bool(difference(mapped, self.saving))

    def mappable(self, wanted: Range) -> bool:
        """Return whether one run-time area holds the whole range."""
        return any(
            start <= wanted[0] and wanted[0] + wanted[1] <= start + size
            for start, size in self.runtime
        )


def difference(whole: Range, holes: Iterable[Range]) -> tuple[Range, ...]:
    """Return what of ``whole`` lies in none of the holes, ascending."""
    start, end = whole[0], whole[0] + whole[1]
    pieces: list[Range] = []
    for offset, size in sorted(holes):
        if size <= 0 or offset + size <= start:
            continue
        if offset >= end:
            break
        if offset > start:
            pieces.append((start, offset - start))
        start = offset + size
    if start < end:
        pieces.append((start, end - start))
    return tuple(pieces)


def form_errors(areas: Sequence[Range], size: int) -> Iterator[str]:
    """Yield what is wrong with the areas of a layout of a region of ``size`` bytes.

    Sources: region.sparse-form, saving.form.
    """
    previous = 0
    for offset, length in areas:
        shown = f"[{offset:#x}, {offset + length:#x})"
        if offset % PAGE or length % PAGE:
            yield f"{shown} is not page aligned"
        if length == 0:
            yield f"{shown} is empty"
        if offset < previous:
            yield f"{shown} begins before {previous:#x}, where the one before it ends"
        if offset + length > size:
            yield f"{shown} ends past the region, which has {size:#x} bytes"
        previous = max(previous, offset + length)


def outside(inner: Sequence[Range], outer: Sequence[Range]) -> tuple[Range, ...]:
    """Return the parts of the inner areas that no outer area holds. Source: saving.form."""
    return tuple(piece for area in inner for piece in difference(area, outer))


def pages(whole: Range) -> tuple[Range, ...]:
    """Return the pages of a page-aligned range."""
    return tuple((at, PAGE) for at in range(whole[0], whole[0] + whole[1], PAGE))
