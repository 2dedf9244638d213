# SPDX-License-Identifier: GPL-2.0-only
"""Ranges of a region, in bytes from its start, and the little arithmetic they need."""

from collections.abc import Iterable
from typing import NamedTuple


class Area(NamedTuple):
    """The range [offset, offset + size) of a region, in bytes."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """First byte after the area."""
        return self.offset + self.size

    def overlaps(self, other: "Area") -> bool:
        """Return whether the two share a byte."""
        return self.offset < other.end and other.offset < self.end

    def covers(self, other: "Area") -> bool:
        """Return whether all of ``other`` lies in this area."""
        return self.offset <= other.offset and other.end <= self.end

    def pages(self, size: int) -> tuple["Area", ...]:
        """Cut the area into pieces of ``size`` bytes; the last may be smaller."""
        return tuple(
            Area(at, min(size, self.end - at)) for at in range(self.offset, self.end, size)
        )

    def __str__(self) -> str:
        return f"[{self.offset:#x}, {self.end:#x})"


def union(areas: Iterable[Area]) -> tuple[Area, ...]:
    """Return the same bytes as ascending, disjoint areas that do not touch."""
    merged: list[Area] = []
    for area in sorted(area for area in areas if area.size > 0):
        if merged and area.offset <= merged[-1].end:
            merged[-1] = Area(merged[-1].offset, max(merged[-1].end, area.end) - merged[-1].offset)
        else:
            merged.append(area)
    return tuple(merged)


def subtract(areas: Iterable[Area], holes: Iterable[Area]) -> tuple[Area, ...]:
    """Return what of ``areas`` lies in none of ``holes``, ascending and disjoint."""
    left = list(union(areas))
    for hole in union(holes):
        kept: list[Area] = []
        for area in left:
            if not area.overlaps(hole):
                kept.append(area)
                continue
            if area.offset < hole.offset:
                kept.append(Area(area.offset, hole.offset - area.offset))
            if hole.end < area.end:
                kept.append(Area(hole.end, area.end - hole.end))
        left = kept
    return tuple(left)


def intersect(areas: Iterable[Area], others: Iterable[Area]) -> tuple[Area, ...]:
    """Return the bytes that lie in both, ascending and disjoint."""
    ours = union(areas)
    return subtract(ours, subtract(ours, others))
