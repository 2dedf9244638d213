# SPDX-License-Identifier: GPL-2.0-only
"""Saves that are left within an iteration, stopped and continued, and what a stream holds."""

import random
from collections.abc import Callable

import pytest

from conformance.migration.stream import joined
from conformance.migration.v1.client import Client
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_success
from conformance.plugin.declared import Scratch
from conformance.plugin.fixtures import Side
from conformance.suite.support.cases import named
from conformance.suite.support.steps import set_apart
from conformance.suite.v1.sections import shared_words
from conformance.suite.v1.steps import expect_whole, save_and_run
from conformance.suite.v1.volatile import volatile_words, without

Stream = list[bytes]


def _after_pending(client: Client) -> Stream:
    assert client.migration.pending_bytes >= 0
    return []


def _after_offset(client: Client) -> Stream:
    if client.migration.pending_bytes:
        assert client.migration.data_offset
    return []


def _after_size(client: Client) -> Stream:
    if client.migration.pending_bytes:
        client.read_window()
    return []


def _after_half(client: Client) -> Stream:
    if client.migration.pending_bytes:
        offset, size = client.read_window()
        client.migration.region.read_exact(offset, size // 2)
    return []


def _after_data(client: Client) -> Stream:
    """Take a buffer whole, and do not read pending_bytes: the user has the data all the same."""
    if not client.migration.pending_bytes:
        return []
    return [client.migration.region.read_exact(*client.read_window())]


LEFT = named(
    {
        "pending_bytes": _after_pending,
        "data_offset": _after_offset,
        "data_size": _after_size,
        "half": _after_half,
        "data": _after_data,
    }
)


@pytest.mark.rule("save.mid-iteration")
@pytest.mark.parametrize("so_far", LEFT)
def test_precopy_left_in_an_iteration(client: Client, so_far: Callable[[Client], Stream]) -> None:
    """Leave pre-copy within an iteration, save the rest: the whole stream loads."""
    client.migration.enter(State.PRE_COPY)
    stream = so_far(client)
    with expect_success(did="leave pre-copy within an iteration, take the rest"):
        client.migration.enter(State.STOP_AND_COPY)
        stream += client.read_all()
    client.migration.enter(State.RUNNING)
    expect_whole(client, stream, did="leave pre-copy within an iteration")


@pytest.mark.rule("save.mid-iteration")
@pytest.mark.parametrize("so_far", LEFT)
def test_registers_after_an_iteration_was_left(
    client: Client, scratch: list[Scratch], so_far: Callable[[Client], Stream]
) -> None:
    """Leave pre-copy within an iteration: the registers are those when the device stopped."""
    client.migration.enter(State.PRE_COPY)
    stream = so_far(client)
    written = set_apart(scratch, 0x1C2C3C4C)
    client.migration.enter(State.STOP_AND_COPY)
    stream += client.read_all()
    client.migration.enter(State.RUNNING)
    set_apart(scratch, 0xF0E0D0C0)
    client.resume(stream)
    now = [place.read() for place in scratch]
    expect_equal(now, written, did="leave pre-copy within an iteration, resume, read registers")


@pytest.mark.rule("save.mid-iteration")
@pytest.mark.parametrize("so_far", LEFT)
def test_given_up_in_an_iteration(client: Client, so_far: Callable[[Client], Stream]) -> None:
    """Give pre-copy up within an iteration, save again: the stream is whole."""
    client.migration.enter(State.PRE_COPY)
    so_far(client)
    client.migration.enter(State.RUNNING)
    again = save_and_run(client)
    expect_whole(client, again, did="give pre-copy up within an iteration, save again")


def _stop_in_two(client: Client) -> Stream:
    """3, data, 2 as the machine pauses, data, 1 as it goes on, 0 as it is stopped, 2, data."""
    migration, stream = client.migration, []
    migration.enter(State.PRE_COPY)
    stream += client.read_all()
    migration.enter(State.STOP_AND_COPY)
    stream += client.read_all()
    migration.enter(State.RUNNING)
    return stream


@pytest.mark.rule("save.whole-again")
def test_continued_within_a_migration(client: Client, scratch: list[Scratch]) -> None:
    """Save, let run, change registers, stop, save: both in one stream load, the last one wins."""
    migration = client.migration
    set_apart(scratch, 0x21222324)
    stream = _stop_in_two(client)
    last = set_apart(scratch, 0xD3D4D5D6)
    migration.enter(State.STOPPED, State.STOP_AND_COPY)
    stream += client.read_all()
    migration.enter(State.STOPPED, State.RUNNING)
    set_apart(scratch, 0x01020304)
    expect_whole(client, stream, did="save, let run, stop, save in one stream")
    now = [place.read() for place in scratch]
    expect_equal(now, last, did="resume from a stream with two states, read the registers")


@pytest.mark.rule("save.whole-again")
@pytest.mark.parametrize("times", [2, 3, 4])
def test_continued_again_and_again(client: Client, scratch: list[Scratch], times: int) -> None:
    """Stop and continue some times within one migration: the stream loads, the last one wins."""
    stream: Stream = []
    for turn in range(times):
        last = set_apart(scratch, 0x10203040 + turn)
        stream += _stop_in_two(client)
    set_apart(scratch, 0x0F0E0D0C)
    expect_whole(client, stream, did=f"save {times} times in one stream")
    now = [place.read() for place in scratch]
    expect_equal(now, last, did=f"resume from a stream with {times} states, read the registers")


@pytest.mark.rule("save.whole-again")
def test_two_states_at_the_peer(
    sides: tuple[Side, Side], scratch: list[Scratch], scratch_there: list[Scratch]
) -> None:
    """Resume the second function from a stream with two states: it has the last."""
    source, destination = sides
    set_apart(scratch, 0x61626364)
    stream = _stop_in_two(source.client())
    last = set_apart(scratch, 0x9A9B9C9D)
    stream += save_and_run(source.client())
    expect_whole(destination.client(), stream, did="resume the second from two states")
    now = [place.read() for place in scratch_there]
    expect_equal(now, last, did="resume the second from two states, read its registers")


@pytest.mark.rule("state.arc-vmm.0-2")
def test_saved_while_stopped(client: Client, scratch: list[Scratch]) -> None:
    """Stop, save from there, change registers, resume: they are as when the device was stopped."""
    migration = client.migration
    written = set_apart(scratch, 0x7B6A5948)
    migration.enter(State.STOPPED)
    with expect_success(did="0->2, save"):
        migration.enter(State.STOP_AND_COPY)
        stream = client.read_all()
    migration.enter(State.STOPPED, State.RUNNING)
    set_apart(scratch, 0x0A1A2A3A)
    expect_whole(client, stream, did="1->0->2, save")
    now = [place.read() for place in scratch]
    expect_equal(now, written, did="1->0->2, save, resume, read the registers")


@pytest.mark.rule("state.arc-vmm.2-1", "state.arc-vmm.0-1")
@pytest.mark.parametrize("state", [0, 2])
def test_writes_while_it_stands_survive(client: Client, scratch: list[Scratch], state: int) -> None:
    """Write registers while the device stands, let it run: they are as written then."""
    set_apart(scratch, 0x0C0D0E0F)
    client.migration.enter(state)
    written = set_apart(scratch, 0x4E5D6C7B)
    client.migration.enter(State.RUNNING)
    now = [place.read() for place in scratch]
    expect_equal(now, written, did=f"in state {state} write registers, write 1, read them")


@pytest.mark.rule("save.only-state")
def test_nothing_of_an_earlier_stream(client: Client, scratch: list[Scratch]) -> None:
    """Save and resume marks, change all registers, save: the stream has nothing of the marks."""
    marks = set_apart(scratch, 0x8C9DAEBF)
    live = client.save_live()
    client.migration.enter(State.RUNNING)
    client.resume(live)
    for place in scratch:
        place.write(0)
    stream = save_and_run(client)
    found = _words_of(marks, scratch, stream)
    expect_equal(found, [], did="save marks, set the registers to 0, save, look for the marks")


@pytest.mark.rule("save.only-state")
def test_nothing_of_the_peer(
    sides: tuple[Side, Side], scratch: list[Scratch], scratch_there: list[Scratch]
) -> None:
    """Put marks into the second function, save it, save the first: no mark is in its stream."""
    source, destination = sides
    for place in scratch:
        place.write(0)
    marks = set_apart(scratch_there, 0x73625140)
    save_and_run(destination.client())
    stream = save_and_run(source.client())
    found = _words_of(marks, scratch, stream)
    expect_equal(found, [], did="save the second with marks, save the first, look for the marks")


def _words_of(values: list[int], places: list[Scratch], stream: Stream) -> list[str]:
    """Return the values of whole registers that stand in a stream."""
    whole = [value for value, place in zip(values, places, strict=True) if place.mask == 0xFFFFFFFF]
    data = joined(stream)
    return [hex(value) for value in whole if value.to_bytes(4, "little") in data]


@pytest.mark.rule("save.only-state")
def test_nothing_of_the_section(client: Client, rng: random.Random) -> None:
    """Fill the data section while resuming, reset, save: the stream has nothing of it."""
    migration = client.migration
    migration.enter(State.RESUMING)
    offset, room = client.room()
    mark = rng.randbytes(room)
    migration.region.write_exact(offset, mark)
    migration.device.reset()
    stream = save_and_run(client)
    found = shared_words(mark, joined(stream))
    expect_equal(found, 0, did="fill the section, reset, save, look for what was there")


@pytest.mark.rule("save.only-state")
def test_a_fresh_device_saves_the_same(client: Client) -> None:
    """Open a device three times, save it each time: the streams differ only in what moves."""
    streams = []
    moving = volatile_words(client)
    for _ in range(3):
        client.migration.device.reopen()
        streams.append(without(save_and_run(client), moving))
    expect_equal(streams[1:], streams[:1] * 2, did="open and save three times, compare")
