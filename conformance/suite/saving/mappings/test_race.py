# SPDX-License-Identifier: GPL-2.0-only
"""Races of mmap(), munmap(), fork and death against the begin of saving.

Repeatable as far as a race can be: every pause and every choice comes from --vfio-seed, which
the failure names.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from conformance.migration.saver import Saver
from conformance.suite.conftest import Find
from conformance.suite.support.cases import named
from conformance.suite.support.races.race import Race, expect_fair
from conformance.vfio.children.children import Child

ROUNDS = 8

PARTIES: dict[str, dict[str, Any]] = {
    "threads-and-processes": {"threads": 2, "processes": 2},
    "forking-processes": {"processes": 2, "heirs": True},
    "dying-processes": {"processes": 3, "deaths": True},
}


@pytest.mark.rule("saving.atomic")
@pytest.mark.parametrize("parties", named(PARTIES))
def test_race(
    saver: Saver,
    window: Find,
    child: Callable[[], Child],
    rng: random.Random,
    parties: dict[str, Any],
) -> None:
    """Let parties map, unmap, fork and die while states are written: never both at once."""
    race = Race(saver, window("C"), rng, fork=child, **parties)
    expect_fair(race.rounds(ROUNDS), did=f"race {ROUNDS} rounds against {parties}")
