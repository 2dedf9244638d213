# SPDX-License-Identifier: GPL-2.0-only
"""Interval arithmetic of the model."""

import pytest

from conformance.model import layout
from conformance.model.boundaries import boundaries
from conformance.model.layout import PAGE, Layout

WHOLE = (0, 4 * PAGE)
#: Four pages, all mappable, the third one trapped while saving.
TRAPPED = Layout(4 * PAGE, (WHOLE,), ((0, 2 * PAGE), (3 * PAGE, PAGE)))


def test_restricted_and_free_ranges_complement_each_other() -> None:
    assert TRAPPED.restricted == ((2 * PAGE, PAGE),)
    assert TRAPPED.free == ((0, 2 * PAGE), (3 * PAGE, PAGE))


def test_no_saving_capability_restricts_nothing() -> None:
    plain = Layout(4 * PAGE, (WHOLE,), None)
    assert plain.restricted == ()
    assert plain.free == (WHOLE,)
    assert not plain.conflicts(WHOLE)


def test_no_saving_area_restricts_everything() -> None:
    closed = Layout(4 * PAGE, (WHOLE,), ())
    assert closed.restricted == (WHOLE,)
    assert closed.free == ()
    assert closed.conflicts((0, PAGE))


def test_what_cannot_be_mapped_anyway_is_not_restricted() -> None:
    holes = Layout(4 * PAGE, ((0, PAGE), (3 * PAGE, PAGE)), ((0, PAGE),))
    assert holes.restricted == ((3 * PAGE, PAGE),)
    assert not holes.mappable((0, 2 * PAGE))


@pytest.mark.parametrize(
    ("first", "count", "conflicts"),
    [
        (0, 1, False),
        (0, 2, False),
        (1, 2, True),
        (2, 1, True),
        (2, 2, True),
        (3, 1, False),
        (0, 4, True),
    ],
)
def test_one_page_outside_is_enough(first: int, count: int, conflicts: bool) -> None:
    assert TRAPPED.conflicts((first * PAGE, count * PAGE)) is conflicts


def test_touching_areas_leave_no_conflict_between_them() -> None:
    touching = Layout(4 * PAGE, (WHOLE,), ((0, PAGE), (PAGE, PAGE)))
    assert not touching.conflicts((0, 2 * PAGE))


@pytest.mark.parametrize(
    ("areas", "words"),
    [
        (((0, PAGE), (2 * PAGE, PAGE)), ()),
        ((), ()),
        (((1, PAGE),), ("aligned",)),
        (((0, PAGE - 1),), ("aligned",)),
        (((0, 0),), ("empty",)),
        (((PAGE, PAGE), (0, PAGE)), ("before",)),
        (((0, 2 * PAGE), (PAGE, PAGE)), ("before",)),
        (((0, 5 * PAGE),), ("past",)),
        (((3 * PAGE, 2 * PAGE), (3 * PAGE + 1, 0)), ("past", "aligned", "empty", "before")),
    ],
)
def test_form_errors_name_each_defect(
    areas: tuple[layout.Range, ...], words: tuple[str, ...]
) -> None:
    found = " / ".join(layout.form_errors(areas, 4 * PAGE))
    assert bool(found) == bool(words)
    assert all(word in found for word in words)


def test_outside_names_what_the_outer_areas_lack() -> None:
    assert layout.outside([(0, 3 * PAGE)], [(0, PAGE), (2 * PAGE, PAGE)]) == ((PAGE, PAGE),)
    assert layout.outside([(0, PAGE)], [WHOLE]) == ()


def test_boundaries_are_judged_to_the_page() -> None:
    found = {case.name: case.conflicts for case in boundaries(TRAPPED)}
    assert found == {
        "0x0-after": False,
        "0x2000-before": False,
        "0x2000-after": True,
        "0x2000-across": True,
        "0x3000-before": True,
        "0x3000-after": False,
        "0x3000-across": True,
        "0x4000-before": False,
    }


def test_boundaries_between_runtime_areas_are_not_crossed() -> None:
    holes = Layout(4 * PAGE, ((0, 2 * PAGE), (2 * PAGE, 2 * PAGE)), ((0, 2 * PAGE),))
    assert "0x2000-across" not in {case.name for case in boundaries(holes)}
