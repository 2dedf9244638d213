# SPDX-License-Identifier: GPL-2.0-only
"""Tables of states and transitions from which tests are parametrized, derived from the model."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from conformance.model.v1 import states
from conformance.model.v1.states import State, Verdict

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

Arc = tuple[State, int]


def name_of(old: int, new: int) -> str:
    """Return the readable id of a transition: ``1->2``."""
    return f"{int(old)}->{new if new < 8 else hex(new)}"


def arcs_by_rule(arcs: Iterable[Arc]) -> "list[ParameterSet]":
    """Return parameters for transitions, each marked with the rule that decides about it."""
    return [
        pytest.param(old, new, id=name_of(old, new), marks=pytest.mark.rule(states.rule(old, new)))
        for old, new in arcs
    ]


def arcs_by_name(arcs: Iterable[Arc]) -> "list[ParameterSet]":
    """Return parameters for transitions that all check the test's own rule."""
    return [pytest.param(old, new, id=name_of(old, new)) for old, new in arcs]


def must_arcs(family: str) -> Iterator[Arc]:
    """Yield the transitions of ``state.arc`` or ``state.arc-vmm`` that change the state."""
    for old, new in states.arcs(Verdict.MUST):
        if states.rule(old, new).startswith(f"{family}."):
            yield old, new


#: All of both families.
MUST_ARCS: Final = (*must_arcs("state.arc"), *must_arcs("state.arc-vmm"))


def all_pairs() -> Iterator[Arc]:
    """Yield every pair of working states, the equal ones included."""
    yield from product(states.WORKING, states.WORKING)


def refusable() -> Iterator[Arc]:
    """Yield writes that no rule obliges a device to take, of each kind in every state."""
    yield from states.arcs(Verdict.FREE)
    yield from product(states.WORKING, (5, 8))


def adding_saving_freely() -> Iterator[Arc]:
    """Yield the transitions that add _SAVING, but 1->2 and 1->3: judged where they are offered."""
    return (
        (old, new)
        for old, new in all_pairs()
        if states.adds_saving(old, new) and old is not State.RUNNING
    )


def not_adding_saving() -> Iterator[Arc]:
    """Yield all other transitions, writes of the current value included."""
    return (pair for pair in all_pairs() if not states.adds_saving(*pair))


def by_state(wanted: Iterable[State] = states.WORKING) -> "list[ParameterSet]":
    """Return parameters for single states."""
    return [pytest.param(state, id=str(int(state))) for state in wanted]
