# SPDX-License-Identifier: GPL-2.0-only
"""Calls that race: SET, the data_fd, reset and close, from several threads."""

import contextlib
import threading
from collections.abc import Callable
from functools import partial

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_true
from conformance.suite.v2.cases import by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import (
    SPARED,
    expect_dead,
    expect_whole,
    lives,
    need_states,
    open_again,
    state_of,
)
from conformance.vfio import features
from conformance.vfio.data_file import DataFile

#: States in which a session lives.
ALIVE = (State.STOP_COPY, State.RESUMING, State.PRE_COPY, State.PRE_COPY_P2P)
SESSIONS = by_state(ALIVE)


@pytest.mark.rule("conc.set")
@pytest.mark.parametrize("number", range(6))
def test_racing_sets(client: Client, number: int) -> None:
    """Set states from four threads: each sees a whole state, one session lives in the end."""
    given: list[DataFile] = []
    wrong: list[int] = []
    saves, loads = (State.STOP_COPY, State.RUNNING), (State.STOP, State.RESUMING)
    ways = (saves, saves, loads, loads)
    in_threads([partial(set_often, client, states, given, wrong) for states in ways])
    numbers = [file.fd for file in given]
    expect_equal(wrong, [], did="GET while others SET: states that the device does not have")
    expect_equal(len(set(numbers)), len(numbers), did="count the descriptors that were given")
    expect_one_story(client, given, did=f"race SET with SET, round {number}")
    for file in given:
        file.close()
    settle(client)


def set_often(
    client: Client, states: tuple[State, ...], given: list[DataFile], wrong: list[int]
) -> None:
    """Set states by turns; note each data_fd, and each state that the device does not have."""
    for turn in range(11):
        with contextlib.suppress(OSError):
            file = features.set_state(client.device, states[turn % len(states)])
            given.extend([file] if file else [])
        now = features.get_state(client.device)
        if now not in (State.ERROR, *fsm.states(client.flags)):
            wrong.append(now)


def in_threads(calls: list[Callable[[], object]]) -> None:
    """Run calls in parallel; all must end in time."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    hung = sum(thread.is_alive() for thread in threads)
    expect_equal(hung, 0, did="race, then wait: threads that hang")


def expect_one_story(client: Client, given: list[DataFile], *, did: str) -> None:
    """Demand that as many sessions live as the state has: one or none. Moves a byte of it."""
    __tracebackhide__ = True
    now, wanted = state_of(client), set(ALIVE)
    if "stale-write" in SPARED:
        wanted.discard(State.RESUMING)
        given = [file for file in given if not file.is_writable]
    if now is State.ERROR:
        return
    signs = [lives(file) for file in given]
    fewest, most = signs.count(True), signs.count(True) + signs.count(None)
    live = int(now in wanted)
    # Whether a load goes on after a SET that it refused is judged by error.on-path.
    least = 0 if now is State.RESUMING else live
    expect_true(
        least <= most and fewest <= live,
        did=f"{did}, count live sessions in {now.name}",
        expected=str(live),
        actual=f"{fewest} to {most}",
    )


def settle(client: Client) -> None:
    """Demand that a reset brings the device back, and that it can be saved and loaded."""
    client.device.reset()
    expect_equal(state_of(client), State.RUNNING, did="race, then reset")
    expect_whole(client, client.save(), did="race, reset, save")


@pytest.mark.rule("conc.data")
def test_racing_reads(client: Client, stream: Stream) -> None:
    """Read a stream from four threads: each byte is handed out once."""
    client.set(State.STOP_COPY)
    file = client.session
    got: list[int] = []

    def take() -> None:
        while piece := file.read(61):
            got.append(len(piece))

    in_threads([take] * 4)
    expect_equal(sum(got), sum(map(len, stream)), did="read from four threads, add up")


@pytest.mark.rule("conc.data")
def test_racing_writes(client: Client, stream: Stream) -> None:
    """Write noise from four threads while resuming: no report, and reset gives up."""
    client.set(State.RESUMING)
    file = client.session

    def give() -> None:
        for _ in range(100):
            with contextlib.suppress(OSError):
                file.write(b"\xa5" * 61)

    in_threads([give] * 4)
    settle(client)
    assert stream


@pytest.mark.rule("conc.leave", "conc.reset")
@pytest.mark.parametrize("how", ["set", "reset"])
@pytest.mark.parametrize("state", SESSIONS)
def test_racing_with_the_end(reach: Reach, client: Client, state: State, how: str) -> None:
    """Read, write, poll and ask while the session is ended: no hang, and then it is dead."""
    for _ in range(5):
        file = reach(state).session
        end = client.device.reset if how == "reset" else lambda: client.set(State.RUNNING)
        in_threads([*users_of(file), end])
        expect_dead(file, did=f"use the data_fd while {how} ends its session")
        settle(client)


def users_of(file: DataFile) -> list[Callable[[], object]]:
    """Return calls that use a data_fd in every way, often."""
    calls: list[Callable[[], object]]
    calls = [partial(file.read, 64), file.poll, file.precopy_info]
    if "stale-write" not in SPARED:
        calls.append(partial(file.write, b"x"))
    return [partial(many, call) for call in calls]


def many(call: Callable[[], object]) -> None:
    """Do something often, whatever comes of it."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            call()


@pytest.mark.rule("conc.reset")
@pytest.mark.parametrize("state", by_state((State.STOP_COPY, State.RESUMING, State.PRE_COPY)))
def test_reset_racing_set(client: Client, state: State) -> None:
    """Reset while a session begins: it lives, or it is dead and the device runs."""
    need_states(client, state)
    for _ in range(10):
        given: list[DataFile] = []

        def begin(found: list[DataFile] = given) -> None:
            with contextlib.suppress(OSError):
                file = features.set_state(client.device, state)
                found.extend([file] if file else [])

        in_threads([begin, client.device.reset])
        expect_one_story(client, given, did=f"reset while SET {state.name}")
        for file in given:
            file.close()
        client.device.reset()
    settle(client)


@pytest.mark.rule("conc.close")
def test_racing_with_close(reach: Reach, client: Client) -> None:
    """Close the device while others read and SET: clean, and the next open runs."""
    for _ in range(5):
        file = reach(State.STOP_COPY).session
        second = client.device.open_again()
        in_threads(
            [
                partial(many, partial(file.read, 16)),
                partial(many, partial(client.attempt, State.STOP)),
                second.close,
            ]
        )
        open_again(client)
    settle(client)


@pytest.mark.rule("conc.close")
@pytest.mark.parametrize("state", SESSIONS)
def test_racing_with_the_last_close(reach: Reach, client: Client, state: State) -> None:
    """Close the device for good while its data_fd is used: clean, and then it is dead."""
    for _ in range(3):
        file = reach(state).session
        in_threads([*users_of(file), client.device.close])
        expect_dead(file, did="use the data_fd while the device is closed")
        open_again(client)
        settle(client)
