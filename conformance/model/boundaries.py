# SPDX-License-Identifier: GPL-2.0-only
"""Mappings around each boundary of each saving area, with the verdict that each deserves."""

from collections.abc import Iterator
from dataclasses import dataclass

from conformance.model.layout import PAGE, Layout, Range


@dataclass(frozen=True)
class Boundary:
    """One mapping next to or across a boundary.

    Attributes:
        name: readable and stable, for example ``0x2000-after``.
        mapped: the range to map.
        conflicts: what the rules say.
    """

    name: str
    mapped: Range
    conflicts: bool


def boundaries(layout: Layout) -> Iterator[Boundary]:
    """Yield the page before, the page after and the pair across each boundary of each area.

    Only what one run-time area holds is yielded, since nothing else can be mapped; that leaves
    out a neighbour that does not exist. Source: saving.exact.boundary.
    """
    edges = sorted({edge for start, size in layout.saving or () for edge in (start, start + size)})
    for edge in edges:
        for name, mapped in (
            ("before", (edge - PAGE, PAGE)),
            ("after", (edge, PAGE)),
            ("across", (edge - PAGE, 2 * PAGE)),
        ):
            if layout.mappable(mapped):
                yield Boundary(f"{edge:#x}-{name}", mapped, layout.conflicts(mapped))
