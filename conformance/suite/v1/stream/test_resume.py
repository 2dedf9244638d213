# SPDX-License-Identifier: GPL-2.0-only
"""Resuming: how data is given, what is accepted, and what is carried over."""

import contextlib
from collections.abc import Callable

import pytest

from conformance.migration.stream import difference
from conformance.migration.v1.client import Client
from conformance.migration.v1.movers import MOVERS, mover
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success
from conformance.plugin.declared import Scratch
from conformance.plugin.fixtures import Side
from conformance.suite.support.steps import set_apart
from conformance.suite.v1.edges import edge_mover
from conformance.suite.v1.steps import expect_after_failure, expect_whole, save_and_run
from conformance.suite.v1.volatile import volatile_words, without

Stream = list[bytes]


@pytest.mark.rule("resume.sequence")
def test_consumed_on_return(client: Client, stream: Stream) -> None:
    """Give each buffer, overwrite the section once data_size is written: nothing is lost."""
    migration = client.migration
    migration.enter(State.RESUMING)
    with client.moving() as move:
        for chunk in stream:
            client.write_chunk(chunk, move)
            move.write(migration.data_offset, b"\xee" * len(chunk))
    with expect_success(did="give all buffers, each overwritten when it was consumed, run"):
        migration.set_state(State.RUNNING)


@pytest.mark.rule("resume.sequence")
def test_data_may_be_written_again(client: Client, stream: Stream) -> None:
    """Write rubbish, then the buffer, then data_size: only what is there then counts."""
    migration = client.migration
    migration.enter(State.RESUMING)
    with client.moving() as move:
        for chunk in stream:
            move.write(migration.data_offset, bytes(len(chunk)))
            client.write_chunk(chunk, move)
    with expect_success(did="give all buffers, each on top of zeros, run"):
        migration.set_state(State.RUNNING)


@pytest.mark.rule("resume.sequence")
def test_data_in_any_order(client: Client, stream: Stream) -> None:
    """Write the second half of each buffer before the first: the whole is what counts."""
    migration = client.migration
    migration.enter(State.RESUMING)
    with client.moving() as move:
        for chunk in stream:
            offset, middle = migration.data_offset, len(chunk) // 16 * 8
            move.write(offset + middle, chunk[middle:])
            move.write(offset, chunk[:middle])
            migration.set_data_size(len(chunk))
    with expect_success(did="give all buffers, second halves first, run"):
        migration.set_state(State.RUNNING)


@pytest.mark.rule("resume.same-chunks")
@pytest.mark.parametrize("how", MOVERS)
def test_same_chunks(client: Client, stream: Stream, how: str) -> None:
    """Give the buffers of a save in their order, by each way to move data: accepted."""
    migration = client.migration
    if how == "mmap" and not migration.data_areas:
        pytest.skip("no part of the data section can be mapped")
    migration.enter(State.RESUMING)
    with expect_success(did=f"save, give the data {how}, run"):
        with edge_mover(migration, how) as move:
            for chunk in stream:
                client.write_chunk(chunk, move)
        migration.set_state(State.RUNNING)
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")


@pytest.mark.rule("resume.same-chunks")
@pytest.mark.parametrize("kind", ["stop-and-copy", "pre-copy", "monitor"])
def test_peer_accepts(source: Side, destination: Side, kind: str) -> None:
    """Give the buffers of one device to another of its kind: accepted, and it runs."""
    stream = save(source, kind)
    with expect_success(did=f"save by {kind}, resume the second function"):
        destination.vmm().load(stream)
    expect_equal(destination.migration.state, State.RUNNING, did="read the second's device_state")


def save(side: Side, kind: str) -> Stream:
    """Save in one of three ways, which leaves the device stopped."""
    if kind == "monitor":
        return side.vmm().save()
    return side.client().save_live() if kind == "pre-copy" else side.client().save_stopped()


@pytest.mark.rule("resume.same-chunks")
def test_resume_again_and_again(client: Client, stream: Stream) -> None:
    """Resume, save, resume what was saved, three times: accepted each time."""
    for turn in range(3):
        expect_whole(client, stream, did=f"turn {turn}")
        stream = save_and_run(client)


@pytest.mark.rule("resume.round-trip")
def test_round_trip(source: Side, destination: Side) -> None:
    """Resume the second function from a stream and save it: an equal stream.

    The destination runs in between, so what moves by itself may differ.
    """
    moving = volatile_words(source.client())
    stream = source.client().save_stopped()
    destination.client().resume(stream)
    again = destination.client().save_stopped()
    did = "save, resume the second function, save that"
    expect_equal(difference(without(stream, moving), without(again, moving)), "", did=did)
    expect_equal(list(map(len, again)), list(map(len, stream)), did=f"{did}: sizes of the buffers")


@pytest.mark.rule("resume.round-trip")
@pytest.mark.parametrize("salt", [0x1B2D3C4F, 0xE4D2C3B0])
@pytest.mark.parametrize("kind", ["stop-and-copy", "pre-copy", "monitor"])
def test_registers_agree(
    sides: tuple[Side, Side],
    scratch: list[Scratch],
    scratch_there: list[Scratch],
    kind: str,
    salt: int,
) -> None:
    """Write registers of the source, others at the destination, migrate: they agree."""
    source, destination = sides
    written = set_apart(scratch, salt)
    set_apart(scratch_there, ~salt & 0xFFFFFFFF)
    destination.vmm().load(save(source, kind))
    now = [place.read() for place in scratch_there]
    expect_equal(now, written, did=f"migrate by {kind}, read the registers at the destination")


@pytest.mark.rule("resume.round-trip")
def test_written_after_a_resume(client: Client, scratch: list[Scratch]) -> None:
    """Resume, write registers, stop, run: they keep their values, and a save has them."""
    set_apart(scratch, 0x5C6D7E8F)
    client.resume(save_and_run(client))
    written = set_apart(scratch, 0x7182939F)
    client.migration.enter(State.STOPPED, State.RUNNING)
    expect_equal([place.read() for place in scratch], written, did="resume, write, stop, run, read")
    stream = save_and_run(client)
    set_apart(scratch, 0x5C6D7E8F)
    client.resume(stream)
    did = "resume, write registers, save, change registers, resume, read"
    expect_equal([place.read() for place in scratch], written, did=did)


@pytest.mark.rule("resume.round-trip")
def test_last_write_before_the_stop_counts(
    sides: tuple[Side, Side], scratch: list[Scratch], scratch_there: list[Scratch]
) -> None:
    """Write registers after pre-copy was read: the destination has the new values."""
    source, destination = sides
    vmm = source.vmm()
    vmm.start()
    vmm.iterate()
    written = set_apart(scratch, 0x2F1E3D4C)
    destination.vmm().load(vmm.stop())
    now = [place.read() for place in scratch_there]
    expect_equal(now, written, did="write registers late in pre-copy, migrate, read them")


#: What data_size may be at most is the room behind data_offset; these are more.
TOO_MUCH: dict[str, Callable[[int, int], int]] = {
    "one-more": lambda room, _: room + 1,
    "4-GiB-and-little": lambda _room, _offset: (1 << 32) + 64,
    "sign-bit": lambda _room, _offset: 1 << 63,
    "largest": lambda _room, _offset: (1 << 64) - 1,
    "wrapping-to-0": lambda _, offset: (1 << 64) - offset,
    "wrapping-into-the-struct": lambda _, offset: (1 << 64) - offset + 16,
}


@pytest.mark.rule("resume.bound")
@pytest.mark.parametrize("too_much", TOO_MUCH)
def test_bound(client: Client, too_much: str) -> None:
    """Write a data_size beyond the section: an error, and the device does not run."""
    migration = client.migration
    migration.enter(State.RESUMING)
    offset, room = client.room()
    size = TOO_MUCH[too_much](room, offset)
    with expect_errno(did=f"write data_size {size:#x} where {room:#x} bytes have room"):
        migration.set_data_size(size)
    expect_after_failure(migration, State.RESUMING, did="read device_state after that")


@pytest.mark.rule("resume.bound")
def test_bound_after_good_data(client: Client, stream: Stream) -> None:
    """Write a data_size beyond the section after a whole stream: an error, then reset helps."""
    migration = client.migration
    migration.enter(State.RESUMING)
    client.write_all(stream)
    with expect_errno(did="write data_size 2^64-1 after a whole stream"):
        migration.set_data_size((1 << 64) - 1)
    migration.device.reset()
    expect_whole(client, stream, did="data_size 2^64-1, reset")


@pytest.mark.rule("resume.bound")
@pytest.mark.parametrize("state", [0, 1])
def test_data_size_where_nothing_resumes(
    migration: MigrationRegion, stream: Stream, state: int
) -> None:
    """Write data_size in a state that does not resume: an error or ignored, nothing happens."""
    if state == State.STOPPED:
        migration.enter(State.STOPPED)
    with contextlib.suppress(OSError):
        migration.set_data_size(len(stream[0]))
    expect_equal(migration.state, state, did=f"write data_size in state {state}, read the state")
    if state == State.STOPPED:
        migration.enter(State.RUNNING)
    migration.enter(State.RESUMING)
    with expect_errno(did="then resume from nothing"):
        migration.set_state(State.RUNNING)


def _offset_only(client: Client, stream: Stream) -> None:
    del stream
    client.room()


def _data_without_size(client: Client, stream: Stream) -> None:
    with mover(client.migration, client.how) as move:
        move.write(client.migration.data_offset, stream[0])


def _first_part(client: Client, stream: Stream) -> None:
    client.write_all([stream[0][: len(stream[0]) // 2]])


def _all_of_it(client: Client, stream: Stream) -> None:
    client.write_all(stream)


PROGRESS: dict[str, Callable[[Client, Stream], object]] = {
    "entered": lambda *_: None,
    "offset-read": _offset_only,
    "data-without-size": _data_without_size,
    "first-part": _first_part,
    "all": _all_of_it,
}


@pytest.mark.rule("resume.abort")
@pytest.mark.parametrize("progress", PROGRESS)
def test_abort(client: Client, stream: Stream, progress: str) -> None:
    """Reset in the middle of resuming: the device runs, and can be resumed from the start."""
    migration = client.migration
    migration.enter(State.RESUMING)
    PROGRESS[progress](client, stream)
    migration.device.reset()
    expect_equal(migration.state, State.RUNNING, did=f"reset while resuming ({progress})")
    expect_whole(client, stream, did=f"reset while resuming ({progress}), begin anew")


@pytest.mark.rule("resume.abort")
@pytest.mark.parametrize("progress", ["first-part", "all"])
def test_abort_leaves_nothing(client: Client, scratch: list[Scratch], progress: str) -> None:
    """Reset in the middle of resuming: the registers are as after any reset."""
    set_apart(scratch, 0x5D6E7F08)
    stream = save_and_run(client)
    set_apart(scratch, 0x12131415)
    client.migration.device.reset()
    clean = [place.read() for place in scratch]
    set_apart(scratch, 0x12131415)
    client.migration.enter(State.RESUMING)
    PROGRESS[progress](client, stream)
    client.migration.device.reset()
    now = [place.read() for place in scratch]
    expect_equal(now, clean, did=f"reset while resuming ({progress}), read the registers")


@pytest.mark.rule("resume.abort")
def test_abort_after_a_failure(client: Client, stream: Stream) -> None:
    """Fail to resume, reset: the device runs, and a good stream is accepted."""
    migration = client.migration
    migration.enter(State.RESUMING)
    client.write_all([stream[0][:-1]])
    with expect_errno(did="resume from a cut stream"):
        migration.set_state(State.RUNNING)
    migration.device.reset()
    expect_equal(migration.state, State.RUNNING, did="fail to resume, reset")
    expect_whole(client, stream, did="fail to resume, reset")


@pytest.mark.rule("resume.round-trip")
def test_older_save(client: Client, scratch: list[Scratch]) -> None:
    """Save, change registers, save again, resume from the first: the registers are its own."""
    written = set_apart(scratch, 0x2A3B4C5D)
    stream = save_and_run(client)
    set_apart(scratch, ~0x2A3B4C5D & 0xFFFFFFFF)
    save_and_run(client)
    expect_whole(client, stream, did="save, change registers, save again, resume from the first")
    now = [place.read() for place in scratch]
    expect_equal(now, written, did="resume from the first stream, read the registers")
