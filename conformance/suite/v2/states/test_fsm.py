# SPDX-License-Identifier: GPL-2.0-only
"""The state machine: which transitions succeed, which are refused, and what GET returns."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL

import pytest

from conformance.migration.v2.client import Client
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_success, expect_true
from conformance.plugin.declared import Scratch
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.cases import named
from conformance.suite.support.life import Life
from conformance.suite.support.steps import set_apart
from conformance.suite.v2.cases import by_name, by_rule, by_state, name_of, pairs
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import (
    expect_dead,
    expect_goes_on,
    expect_refused,
    expect_taken,
    expect_whole,
    in_time,
    need_states,
    state_of,
)
from conformance.uapi import constants as c
from conformance.vfio import features

OUTSIDE = {"8": 8, "16": 16, "0xabcd": 0xABCD, "2^31": 1 << 31, "2^32-1": 0xFFFFFFFF}


def steps_of(client: Client, old: State, new: State) -> tuple[State, ...]:
    """Return the steps of a transition; leaves the test if the device does not have it."""
    need_states(client, old, new)
    steps = fsm.path(old, new, client.flags)
    if not steps:
        not_applicable(f"the flags {client.flags:#x} do not have {name_of(old, new)}")
    return steps


def expect_transition(client: Client, old: State, new: State) -> None:
    """Demand a transition, and a data_fd exactly where it begins a session."""
    __tracebackhide__ = True
    with in_time(f"SET {new.name} in {old.name}"):
        file = expect_taken(client, new)
    wanted = fsm.begins_session(old, new, client.flags)
    said = "a data_fd" if file else "data_fd -1"
    expected = "a data_fd" if wanted else "data_fd -1"
    expect_true(bool(file) is wanted, did=f"{name_of(old, new)}", expected=expected, actual=said)


@pytest.mark.parametrize(("old", "new"), by_rule("fsm.arc", fsm.all_arcs()))
def test_arc(reach: Reach, client: Client, old: State, new: State) -> None:
    """Take an arc that the header draws: it succeeds, and GET shows the new state."""
    if len(steps_of(client, old, new)) > 1:
        not_applicable(f"with flags {client.flags:#x} this is more than one step")
    expect_transition(reach(old), old, new)


@pytest.mark.parametrize(("old", "new"), by_rule("fsm.combination", fsm.all_combinations()))
def test_combination(reach: Reach, client: Client, old: State, new: State) -> None:
    """Take several arcs in one SET: it succeeds, and GET shows the new state."""
    if len(steps_of(client, old, new)) == 1:
        not_applicable(f"with flags {client.flags:#x} this is one step")
    expect_transition(reach(old), old, new)


@pytest.mark.rule("fsm.combination.shortest")
@pytest.mark.parametrize(("old", "new"), by_name(pairs()))
def test_session_over_a_transition(reach: Reach, client: Client, old: State, new: State) -> None:
    """Leave a state that has a session: it goes on within the saving group, else it is dead."""
    steps_of(client, old, new)
    if not (old.saving or old is State.RESUMING):
        not_applicable("this state has no session")
    file = reach(old).session
    client.set(new)
    if fsm.keeps_session(old, new):
        with in_time("read"), expect_success(did=f"{name_of(old, new)}, read the same data_fd"):
            client.read_now() if new is not State.STOP_COPY else file.read(4096)
    else:
        expect_dead(file, did=name_of(old, new))


@pytest.mark.rule("fsm.combination.invisible")
@pytest.mark.parametrize(("old", "new"), by_name(fsm.all_combinations()))
def test_steps_are_invisible(reach: Reach, client: Client, old: State, new: State) -> None:
    """GET the state in another thread meanwhile: the old or the new one, nothing between."""
    steps_of(client, old, new)
    reach(old)
    with watched(client) as seen:
        client.set(new)
    strange = seen - {old, new}
    expect_equal(strange, set(), did=f"GET while {name_of(old, new)} is under way")


@contextmanager
def watched(client: Client) -> Iterator[set[int]]:
    """Collect the states that another thread sees during a block."""
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(features.get_state(client.device))

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(0.002)
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@pytest.mark.rule("fsm.same")
@pytest.mark.parametrize("state", by_state())
def test_same(reach: Reach, client: Client, state: State) -> None:
    """Set the current state: 0, data_fd -1, and the session goes on where it was."""
    reach(state)
    file = client.file
    head = file.read(8) if file and state.saving else b""
    for _ in range(3):
        again = expect_taken(client, state)
        expect_equal(again, None, did=f"SET {state.name} in {state.name}, look at data_fd")
    if state is State.STOP_COPY and head:
        rest = client.read_all()
        client.go(State.RUNNING)
        expect_whole(client, [head, *rest], did="SET STOP_COPY again in the middle of the stream")


@pytest.mark.rule("fsm.blocked")
@pytest.mark.parametrize("new", by_state((State.PRE_COPY, State.PRE_COPY_P2P)))
def test_blocked(reach: Reach, client: Client, new: State) -> None:
    """Go from STOP_COPY back to pre-copy: EINVAL at once, state and session are untouched."""
    need_states(client, new)
    head = reach(State.STOP_COPY).session.read(8)
    with in_time(f"SET {new.name} in STOP_COPY"):
        expect_refused(client, new, EINVAL)
    rest = client.read_all()
    client.go(State.RUNNING)
    expect_whole(client, [head, *rest], did=f"SET {new.name} in the middle of STOP_COPY")


@pytest.mark.rule("fsm.invalid")
@pytest.mark.parametrize("value", named({"error": int(State.ERROR), **OUTSIDE}))
@pytest.mark.parametrize("state", by_state())
def test_invalid(reach: Reach, client: Client, state: State, value: int) -> None:
    """Set ERROR or a value that is no state: EINVAL, nothing changed, the next SET works."""
    reach(state)
    with in_time(f"SET {value:#x}"):
        expect_refused(client, value, EINVAL)
    expect_goes_on(client)


@pytest.mark.rule("fsm.invalid")
@pytest.mark.parametrize(("old", "new"), by_name(pairs()))
def test_every_pair(reach: Reach, client: Client, old: State, new: State) -> None:
    """Set any state in any state: it succeeds or is EINVAL as the arcs and flags have it."""
    need_states(client, old)
    steps = fsm.path(old, new, client.flags)
    reach(old)
    with in_time(f"SET {new.name} in {old.name}"):
        if steps is not None:
            expect_taken(client, new)
            return
        expect_refused(client, new, EINVAL)
    expect_goes_on(client)


@pytest.mark.rule("fsm.invalid")
def test_invalid_in_the_middle_of_a_load(client: Client, stream: list[bytes]) -> None:
    """Set ERROR and 8 in the middle of a load, go on: the load succeeds."""
    client.set(State.RESUMING)
    for chunk in stream:
        client.write_all([chunk[:1]])
        for value in (State.ERROR, 8):
            expect_refused(client, value, EINVAL)
        client.write_all([chunk[1:]])
    expect_taken(client, State.RUNNING, did="load with refused SETs in between")


@pytest.mark.rule("fsm.synchronous")
def test_stopped_when_it_returns(client: Client, scratch: list[Scratch]) -> None:
    """Stop the device, read its registers twice: nothing moves; let it run: they work."""
    wanted = set_apart(scratch, 0x55667788)
    set_apart(scratch, 0x11223344)
    client.set(State.STOP)
    before = [place.read() for place in scratch]
    time.sleep(0.01)
    expect_equal([place.read() for place in scratch], before, did="read registers twice in STOP")
    client.set(State.RUNNING)
    expect_equal(set_apart(scratch, 0x55667788), wanted, did="write registers in RUNNING")


@pytest.mark.rule("fsm.synchronous")
@pytest.mark.parametrize("state", by_state((State.STOP, State.STOP_COPY, State.RESUMING)))
def test_it_stands(life: Life, reach: Reach, state: State) -> None:
    """Enter each stopped state: no register moves, no memory is written, no interrupt comes."""
    reach(state)
    life.expect_stands(f"SET {state.name}")


@pytest.mark.rule("fsm.synchronous")
@pytest.mark.parametrize("state", by_state())
def test_it_works_again(life: Life, reach: Reach, client: Client, state: State) -> None:
    """Go to RUNNING from each state: the device works, without being set up anew."""
    reach(state)
    client.set(State.RUNNING)
    life.expect_works(f"{state.name} to RUNNING")


@pytest.mark.rule("fsm.no-spontaneous")
@pytest.mark.parametrize("state", by_state())
def test_nothing_but_set_changes_the_state(reach: Reach, client: Client, state: State) -> None:
    """Wait, read, write, ask in a state: it stays."""
    file = reach(state).file
    for _ in range(20):
        time.sleep(0.002)
        features.migration_flags(client.device)
        if file and state is State.STOP_COPY:
            file.read(64)
    expect_equal(state_of(client), state, did=f"do everything but SET in {state.name}, then GET")


BEFORE = {
    "a-save": (State.STOP_COPY, State.STOP),
    "a-save-given-up": (State.STOP_COPY, State.RUNNING, State.STOP),
    "a-stop": (State.STOP, State.RUNNING, State.STOP),
}


@pytest.mark.rule("fsm.no-memory")
@pytest.mark.parametrize("before", BEFORE)
def test_arcs_have_no_memory(client: Client, stream: list[bytes], before: str) -> None:
    """Save after a save, a give-up, a load: each stream is whole."""
    client.go(*BEFORE[before])
    client.set(State.STOP_COPY)
    again = client.read_all()
    client.go(State.RUNNING)
    expect_whole(client, again, did=f"save after {before}")
    expect_equal(bool(again), bool(stream), did=f"save after {before}: does it say anything?")


@pytest.mark.rule("fsm.no-memory")
def test_save_after_a_load(client: Client, stream: list[bytes]) -> None:
    """Load, go to STOP_COPY in one SET, load what that gives: both work."""
    client.load(stream, then=State.STOP_COPY)
    again = client.read_all()
    client.go(State.RUNNING)
    expect_whole(client, again, did="load, then SET STOP_COPY")


@pytest.mark.rule("fsm.stop-responsive")
@pytest.mark.parametrize("state", by_state((State.STOP, State.STOP_COPY, State.RESUMING)))
def test_stopped_device_answers(reach: Reach, client: Client, state: State) -> None:
    """Read config space and all regions of a stopped device: they answer, the state stays."""
    reach(state)
    kind = c.VFIO_REGION_TYPE_MIGRATION_DEPRECATED
    other = client.device.find_regions(kind, c.VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED)
    for region in client.device.regions:
        if region.readable and region not in other:  # both.unread is about the other version
            with expect_success(did=f"read {region.name} in {state.name}"):
                region.read(0, 4)
    expect_equal(state_of(client), state, did=f"read all regions in {state.name}, then GET")
    expect_taken(client, State.RUNNING)
