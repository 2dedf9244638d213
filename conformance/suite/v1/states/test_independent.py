# SPDX-License-Identifier: GPL-2.0-only
"""Two functions of one driver at once: neither sees anything of the other."""

import pytest

from conformance.migration.stream import joined
from conformance.migration.v1.client import Client
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_success
from conformance.plugin.declared import Scratch
from conformance.plugin.fixtures import Side
from conformance.suite.support.registers import moved_between, registers_of
from conformance.suite.support.steps import set_apart
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import expect_whole, save_and_run
from conformance.suite.v1.volatile import volatile_words, without
from conformance.vfio.memory.mapping import Mapping

EVERY = (
    State.STOPPED,
    State.STOP_AND_COPY,
    State.PRE_COPY,
    State.RESUMING,
    State.ERROR,
)
Sides = tuple[Side, Side]


@pytest.mark.rule("state.independent")
@pytest.mark.parametrize("state", by_state(EVERY))
def test_state_is_its_own(reach: Reach, destination: Side, state: State) -> None:
    """Bring one function to any state: the other one runs, can be saved and resumed."""
    migration = reach(state)
    other = destination.migration
    expect_equal(other.state, State.RUNNING, did=f"the first in state {state:d}, read the second")
    stream = save_and_run(destination.client())
    expect_whole(destination.client(), stream, did=f"the first in state {state:d}, save the second")
    expect_equal(migration.state, state, did="read the state of the first after that")


@pytest.mark.rule("state.independent")
@pytest.mark.parametrize("state", by_state(EVERY))
def test_reset_is_its_own(reach: Reach, destination: Side, state: State) -> None:
    """Reset the second function: the first one keeps its state."""
    migration = reach(state)
    destination.device.reset()
    now = migration.state
    expect_equal(now, state, did=f"reset the second, read the first, which was in {state:d}")


@pytest.mark.rule("state.independent")
@pytest.mark.parametrize("state", by_state(EVERY[:-1]))
def test_registers_are_their_own(
    sides: Sides, scratch: list[Scratch], scratch_there: list[Scratch], state: State
) -> None:
    """Write registers of both, take one through states: those of the other stay."""
    source, destination = sides
    set_apart(scratch, 0x41424344)
    there = set_apart(scratch_there, 0xB1B2B3B4)
    stream = save_and_run(source.client())
    source.migration.enter(state)
    if state is State.RESUMING:
        source.client().write_all(stream)
    source.migration.enter(State.RUNNING)
    now = [place.read() for place in scratch_there]
    expect_equal(now, there, did=f"the first 1->{state:d}->1, read the second's registers")
    expect_equal(destination.migration.state, State.RUNNING, did="read the second's state")


def _interleaved(one: Client, other: Client) -> tuple[list[bytes], list[bytes]]:
    """Save two devices at once, a step of the one after a step of the other."""
    streams: tuple[list[bytes], list[bytes]] = ([], [])
    left = {0: one, 1: other}
    while left:
        pending = {side: client.migration.pending_bytes for side, client in left.items()}
        left = {side: client for side, client in left.items() if pending[side]}
        windows = {side: client.read_window() for side, client in left.items()}
        for side, client in left.items():
            streams[side].append(client.migration.region.read_exact(*windows[side]))
    return streams


@pytest.mark.rule("state.independent")
def test_streams_are_their_own(
    sides: Sides, scratch: list[Scratch], scratch_there: list[Scratch]
) -> None:
    """Save two functions step by step at once: each stream is that of its function."""
    here, there = set_apart(scratch, 0x51525354), set_apart(scratch_there, 0xE4E3E2E1)
    clients = [side.client() for side in sides]
    for client in clients:
        client.migration.enter(State.STOP_AND_COPY)
    streams = _interleaved(*clients)
    for client in clients:
        client.migration.enter(State.RUNNING)
    for client, stream in zip(clients, reversed(streams), strict=True):
        expect_whole(client, stream, did="save two functions at once, exchange their states")
    now = ([place.read() for place in scratch], [place.read() for place in scratch_there])
    expect_equal(now, (there, here), did="exchange the states of two functions, read registers")


@pytest.mark.rule("state.independent")
def test_resumes_are_their_own(
    sides: Sides, scratch: list[Scratch], scratch_there: list[Scratch]
) -> None:
    """Resume two functions buffer by buffer at once: each gets what it was given."""
    clients = [side.client() for side in sides]
    values, streams = [], []
    for client, places, salt in zip(
        clients, (scratch, scratch_there), (0x11223344, 0x99AABBCC), strict=True
    ):
        values.append(set_apart(places, salt))
        streams.append(save_and_run(client))
    _give_at_once(clients, streams)
    now = [[place.read() for place in places] for places in (scratch, scratch_there)]
    expect_equal(now, values, did="resume two functions at once, read registers")


def _give_at_once(clients: list[Client], streams: list[list[bytes]]) -> None:
    """Resume each client from its stream, a buffer of the one after a buffer of the other."""
    with expect_success(did="resume two functions at once"):
        for client in clients:
            client.migration.enter(State.RESUMING)
        for number in range(max(map(len, streams))):
            for client, stream in zip(clients, streams, strict=True):
                client.write_all(stream[number : number + 1])
        for client in clients:
            client.migration.set_state(State.RUNNING)


@pytest.mark.rule("state.independent")
def test_mappings_are_their_own(conflict: Mapping, destination: Side) -> None:
    """Map a conflicting page of one function: the other can be saved."""
    assert conflict.size
    with expect_success(did="map a page of the first function, save the second"):
        destination.migration.enter(State.STOP_AND_COPY, State.RUNNING)


@pytest.mark.rule("state.independent")
def test_resuming_is_not_seen(sides: Sides) -> None:
    """Resume and save the second function: neither registers nor stream of the first change."""
    source, destination = sides
    moving = volatile_words(source.client())
    before, stream = registers_of(source.device), save_and_run(source.client())
    destination.client().resume(save_and_run(destination.client()))
    now, again = registers_of(source.device), save_and_run(source.client())
    if moving:
        before = now  # what moves by itself is compared in the streams
    expect_equal(moved_between(before, now), [], did="resume the second, read the first")
    same = joined(without(stream, moving)) == joined(without(again, moving))
    expect_equal(same, True, did="resume the second, compare two saves of the first")
