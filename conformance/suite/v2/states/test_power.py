# SPDX-License-Identifier: GPL-2.0-only
"""States of a function with memory decoding off, or asleep; interrupts over changes of them."""

import time

import pytest

from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal
from conformance.suite.support.life import WHILE, Life, arrived, raise_all
from conformance.suite.support.power import decoding_off, in_d3hot
from conformance.suite.v2.cases import AWAY, STANDING
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import expect_taken, expect_whole, state_of
from conformance.vfio.pci.config import Config
from conformance.vfio.pci.interrupts import Vectors


@pytest.mark.rule("fsm.decode-off")
@pytest.mark.parametrize("state", AWAY)
def test_decoding_off(reach: Reach, space: Config, state: State) -> None:
    """Switch decoding off, go to a state and back to RUNNING: taken, and a save is whole."""
    with decoding_off(space):
        client = reach(state)
        expect_taken(client, State.RUNNING, did=f"SET RUNNING in {state.name}, decoding off")
        stream = client.save()
    expect_whole(client, stream, did="save with decoding off")


@pytest.mark.rule("fsm.decode-off")
@pytest.mark.parametrize("state", AWAY)
def test_d3hot(reach: Reach, space: Config, state: State) -> None:
    """SET RUNNING in D3hot: it is taken, or refused and still possible in D0."""
    client = reach(state)
    with in_d3hot(space):
        taken = client.attempt(State.RUNNING) is None
        now = State.RUNNING if taken else state
        expect_equal(state_of(client), now, did="SET RUNNING in D3hot, GET")
    if not taken:
        expect_taken(client, State.RUNNING, did="SET RUNNING in D0, refused in D3hot before")


@pytest.mark.rule("irq2.kept")
@pytest.mark.usefixtures("triggers")
@pytest.mark.parametrize("state", AWAY)
def test_arrive_again(life: Life, vectors: Vectors, reach: Reach, state: State) -> None:
    """Go to a state and back to RUNNING: each interrupt arrives."""
    assert vectors
    reach(state).set(State.RUNNING)
    for trigger in life.triggers:
        life.expect_interrupt(trigger, f"SET {state.name}, SET RUNNING")


@pytest.mark.rule("irq2.kept")
@pytest.mark.usefixtures("triggers")
@pytest.mark.parametrize("enabled", ["before", "meanwhile"])
@pytest.mark.parametrize("state", STANDING)
def test_raised_while_it_stands(
    life: Life, vectors: Vectors, reach: Reach, state: State, enabled: str
) -> None:
    """Raise interrupts while the device stands: they come when it runs, and none before."""
    if enabled == "meanwhile":
        vectors.disable()
    client = reach(state)
    if enabled == "meanwhile":
        vectors.enable()
    vectors.take_all()
    wanted = raise_all(life)
    time.sleep(WHILE)
    did = f"SET {state.name}, raise interrupts, enabled {enabled}"
    expect_equal(vectors.take_all(), [], did=did)
    client.set(State.RUNNING)
    expect_equal(arrived(vectors, wanted), wanted, did=f"{did}, SET RUNNING")
