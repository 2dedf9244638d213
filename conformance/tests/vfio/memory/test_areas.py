# SPDX-License-Identifier: GPL-2.0-only
"""Arithmetic of ranges, compared with sets of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from conformance.vfio.memory.areas import Area, intersect, subtract, union

AREAS = st.lists(st.builds(Area, st.integers(0, 40), st.integers(0, 12)), max_size=6)


def _bytes(areas: list[Area] | tuple[Area, ...]) -> set[int]:
    return {byte for area in areas for byte in range(area.offset, area.end)}


@given(AREAS, AREAS)
def test_like_sets(ours: list[Area], others: list[Area]) -> None:
    assert _bytes(union(ours)) == _bytes(ours)
    assert _bytes(subtract(ours, others)) == _bytes(ours) - _bytes(others)
    assert _bytes(intersect(ours, others)) == _bytes(ours) & _bytes(others)


@given(AREAS, AREAS)
def test_results_are_ascending_and_apart(ours: list[Area], others: list[Area]) -> None:
    for result in (union(ours), union(others)):
        ends = [area.end for area in result]
        starts = [area.offset for area in result[1:]]
        assert all(end < start for end, start in zip(ends, starts, strict=False))
    assert all(area.size > 0 for area in subtract(ours, others))


def test_overlap_and_cover() -> None:
    assert Area(0, 4).overlaps(Area(3, 1))
    assert not Area(0, 4).overlaps(Area(4, 1))
    assert Area(0, 4).covers(Area(1, 3))
    assert not Area(0, 4).covers(Area(1, 4))


def test_pages() -> None:
    assert Area(4, 10).pages(4) == (Area(4, 4), Area(8, 4), Area(12, 2))


def test_words() -> None:
    assert str(Area(0x2000, 0x1000)) == "[0x2000, 0x3000)"
