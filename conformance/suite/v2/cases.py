# SPDX-License-Identifier: GPL-2.0-only
"""Tables of states and transitions from which tests of version 2 are parametrized."""

from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING

import pytest

from conformance.model.v2 import fsm
from conformance.model.v2.fsm import Arc, State

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

#: Every state but ERROR, in the order of their numbers.
WORKING = tuple(state for state in State if state is not State.ERROR)


def name_of(old: State, new: State) -> str:
    """Return the readable id of a transition: ``stop-copy:resuming``."""
    return f"{old.word}:{new.word}"


def by_rule(family: str, arcs: Iterable[Arc]) -> "list[ParameterSet]":
    """Return parameters for transitions, each marked with its rule of a family."""
    return [
        pytest.param(
            old,
            new,
            id=name_of(old, new),
            marks=pytest.mark.rule(f"{family}.{old.word}-to-{new.word}"),
        )
        for old, new in arcs
    ]


def by_name(arcs: Iterable[Arc]) -> "list[ParameterSet]":
    """Return parameters for transitions that all check the test's own rule."""
    return [pytest.param(old, new, id=name_of(old, new)) for old, new in arcs]


def by_state(wanted: Iterable[State] = WORKING) -> "list[ParameterSet]":
    """Return parameters for single states."""
    return [pytest.param(state, id=state.word) for state in wanted]


#: Parameters for all states but RUNNING, and for those in which the device stands.
AWAY = by_state(state for state in WORKING if state is not State.RUNNING)
STANDING = by_state((State.STOP, State.STOP_COPY))


def pairs() -> tuple[Arc, ...]:
    """Return all pairs of states, of which a device has some."""
    return tuple(product(WORKING, State))


def entering_saving() -> tuple[Arc, ...]:
    """Return the transitions at which mappings are judged, of a device with all flags."""
    return tuple(arc for arc in pairs() if fsm.judges_mappings(*arc, fsm.FLAGS))


def not_entering_saving() -> tuple[Arc, ...]:
    """Return all other pairs of states."""
    return tuple(arc for arc in pairs() if not fsm.judges_mappings(*arc, fsm.FLAGS))
