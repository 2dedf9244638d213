# SPDX-License-Identifier: GPL-2.0-only
"""States of a function with memory decoding off, or asleep; interrupts over changes of them."""

import time
from errno import EINVAL

import pytest

from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Scratch
from conformance.suite.support.life import WHILE, Life, arrived, expect_all_arrive, raise_all
from conformance.suite.support.power import decoding_off, in_d3hot
from conformance.suite.support.steps import set_apart
from conformance.suite.v2.cases import AWAY, STANDING, by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import expect_refused, expect_taken, expect_whole, state_of
from conformance.vfio.pci.config import Config
from conformance.vfio.pci.interrupts import Vectors

STILL = by_state((State.STOP, State.STOP_COPY, State.RESUMING))


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


@pytest.mark.rule("fsm.decode-off")
def test_registers_with_decoding_off(client: Client, scratch: list[Scratch], space: Config) -> None:
    """Save with decoding off, change registers, load with decoding off: they are as saved."""
    written = set_apart(scratch, 0x24680A53)
    with decoding_off(space):
        stream = client.save()
    set_apart(scratch, 0x11223344)
    with decoding_off(space):
        client.load(stream)
    now = [place.read() for place in scratch]
    expect_equal(now, written, did="save and load with decoding off, read registers")


@pytest.mark.rule("fsm.decode-off")
@pytest.mark.parametrize("state", STILL)
def test_stands_with_decoding_off(life: Life, reach: Reach, space: Config, state: State) -> None:
    """Stop the device with decoding off, switch it on: the device stands."""
    with decoding_off(space):
        reach(state)
    life.expect_stands(f"switch decoding off, SET {state.name}, switch it on")


@pytest.mark.rule("fsm.decode-off")
@pytest.mark.parametrize("state", AWAY)
def test_works_with_decoding_off(life: Life, reach: Reach, space: Config, state: State) -> None:
    """Go to a state and back to RUNNING with decoding off, switch it on: the device works."""
    with decoding_off(space):
        reach(state).set(State.RUNNING)
    life.expect_works(f"switch decoding off, SET {state.name} and RUNNING, switch it on")


@pytest.mark.rule("fsm.decode-off")
@pytest.mark.parametrize("state", STANDING)
def test_stop_in_d3hot(life: Life, client: Client, space: Config, state: State) -> None:
    """Stop the device in D3hot, enter D0: it stands, or works where that was refused."""
    with in_d3hot(space):
        taken = client.attempt(state) is None
    did = f"SET {state.name} in D3hot, {'taken' if taken else 'refused'}, enter D0"
    judge = life.expect_stands if taken else life.expect_works
    judge(did)


@pytest.mark.rule("fsm.decode-off")
@pytest.mark.parametrize("state", AWAY)
def test_works_after_d3hot(life: Life, reach: Reach, space: Config, state: State) -> None:
    """SET RUNNING in D3hot, or in D0 where that was refused: the device works in D0."""
    client = reach(state)
    with in_d3hot(space):
        taken = client.attempt(State.RUNNING) is None
    if not taken:
        client.set(State.RUNNING)
    where = "in D3hot" if taken else "in D0, refused in D3hot before"
    life.expect_works(f"{state.name}, SET RUNNING {where}")


@pytest.mark.rule("fsm.invalid", "fsm.same")
@pytest.mark.parametrize("state", by_state())
def test_what_needs_no_register_in_d3hot(reach: Reach, space: Config, state: State) -> None:
    """Set no state, and the present one, in D3hot: EINVAL and success, as in D0."""
    client = reach(state)
    with in_d3hot(space):
        for value in (State.ERROR, 8):
            expect_refused(client, value, EINVAL, did=f"SET {value:d} in {state.name}, in D3hot")
        expect_taken(client, state, did=f"SET {state.name} again, in D3hot")


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


@pytest.mark.rule("resume2.round-trip")
@pytest.mark.usefixtures("triggers")
def test_not_enabled_by_what_was_before(life: Life, vectors: Vectors, client: Client) -> None:
    """Load a save of disabled interrupts where they are enabled: none comes, until they are."""
    assert vectors
    expect_all_arrive(life, "enable them")
    if not life.disable():
        pytest.skip("this device does not show as disabled what is written as such")
    stream = client.save()
    arrived(vectors, raise_all(life))  # one that is late would count as raised later
    client.load(stream)
    life.expect_disabled("enable interrupts, load a save without")
    expect_all_arrive(life, "load a save without interrupts, enable them")
