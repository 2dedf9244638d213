# SPDX-License-Identifier: GPL-2.0-only
"""Finds ranges of regions by which of their pages conflict with saving."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from conformance.model.layout import PAGE, Layout, pages
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.region import Region


@dataclass(frozen=True)
class Window:
    """A range of a region, page aligned, inside one run-time area."""

    region: Region
    offset: int
    size: int

    def map(self, **how: Any) -> Mapping:
        """Map it, readable, writable and shared unless the arguments say otherwise."""
        return self.region.map(self.offset, self.size, **how)


def layout_of(region: Region) -> Layout:
    """Return what a region says of itself in the form of the model."""
    saving = tuple(region.saving.areas) if region.saving else None
    return Layout(region.size, tuple(region.runtime_areas), saving)


def whole(region: Region) -> Window:
    """Return the run-time area of a region that reaches outside the saving areas."""
    layout = layout_of(region)
    offset, size = next(area for area in layout.runtime if layout.conflicts(area))
    return Window(region, offset, size)


def find(regions: Iterable[Region], *patterns: str) -> Window | None:
    """Return the first range that matches one of the patterns, tried in order.

    A pattern has one letter per page: ``C`` conflicts with saving, ``f`` does not.
    """
    shown = [
        (region, area, _letters(layout_of(region), area))
        for region in regions
        for area in region.runtime_areas
    ]
    for pattern in patterns:
        for region, area, letters in shown:
            at = letters.find(pattern)
            if at >= 0:
                return Window(region, area[0] + at * PAGE, len(pattern) * PAGE)
    return None


def _letters(layout: Layout, area: tuple[int, int]) -> str:
    return "".join("C" if layout.conflicts(page) else "f" for page in pages(area))
