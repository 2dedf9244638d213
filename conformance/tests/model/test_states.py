# SPDX-License-Identifier: GPL-2.0-only
"""The model of device states against the catalogue and against itself."""

import itertools

import pytest

from conformance import requirements
from conformance.model.v1 import states
from conformance.model.v1.states import State, Verdict

CATALOGUE = requirements.load()


@pytest.mark.parametrize("family", ["state.arc", "state.arc-vmm", "state.arc-free"])
def test_every_arc_of_the_catalogue_is_in_the_model(family: str) -> None:
    cases = {r.id.removeprefix(f"{family}.") for r in CATALOGUE.values() if r.family == family}
    expected = Verdict.FREE if family == "state.arc-free" else Verdict.MUST
    found = {
        f"{old:d}-{new:d}"
        for old, new in states.arcs(expected)
        if states.rule(old, new).startswith(f"{family}.")
    }
    assert cases - {"same"} == found


def test_each_pair_of_working_states_has_one_verdict() -> None:
    must, free = set(states.arcs(Verdict.MUST)), set(states.arcs(Verdict.FREE))
    assert not must & free
    assert must | free == set(itertools.permutations(states.WORKING, 2))


@pytest.mark.parametrize("old", states.WORKING)
@pytest.mark.parametrize("value", [5, 6, 7])
def test_invalid_combinations_cannot_be_written(old: State, value: int) -> None:
    assert states.verdict(old, value) is Verdict.INVALID
    assert states.rule(old, value) == "state.invalid"


@pytest.mark.parametrize("bit", range(3, 32))
def test_unknown_bits_cannot_be_written(bit: int) -> None:
    assert states.verdict(State.RUNNING, State.RUNNING | 1 << bit) is Verdict.INVALID
    assert states.rule(State.RUNNING, 1 << bit) == "state.unknown-bits"


@pytest.mark.parametrize("value", range(9))
def test_error_is_left_by_no_write(value: int) -> None:
    assert states.verdict(State.ERROR, value) is Verdict.INVALID
    assert states.rule(State.ERROR, value) == "state.error-exit"
    assert states.after_failure(State.ERROR) == (State.ERROR,)


def test_every_rule_named_is_in_the_catalogue() -> None:
    writes = itertools.product([*states.WORKING, State.ERROR], range(16))
    assert {states.rule(old, value) for old, value in writes} <= CATALOGUE.keys()


@pytest.mark.parametrize("to", states.WORKING)
def test_routes_use_only_arcs_that_must_succeed(to: State) -> None:
    at = State.RUNNING
    for step in states.route(to):
        assert states.verdict(at, step) is Verdict.MUST
        at = step
    assert at is to


def test_saving_is_added_only_where_it_was_clear() -> None:
    adding = {
        (int(a), int(b)) for a in states.WORKING for b in states.WORKING if states.adds_saving(a, b)
    }
    assert adding == {(0, 2), (0, 3), (1, 2), (1, 3), (4, 2), (4, 3)}


def test_a_failure_leaves_the_old_state_or_error() -> None:
    assert states.after_failure(State.RESUMING) == (State.RESUMING, State.ERROR)


def test_saving_states_are_two_and_three() -> None:
    assert [state for state in State if state.saving] == [2, 3]
