# SPDX-License-Identifier: GPL-2.0-only
"""Saving: the registers of an iteration, and when it ends."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from conformance.migration.v1.client import Buffer, Client
from conformance.migration.v1.movers import MOVERS, mover
from conformance.migration.v1.region import STRUCT_SIZE, MigrationRegion
from conformance.migration.v1.saver import answer
from conformance.model.layout import PAGE
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_success, expect_true
from conformance.plugin.devices import Observe
from conformance.suite.support.cases import named
from conformance.suite.support.registers import registers_of
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.edges import edge_mover
from conformance.suite.v1.steps import Announced, expect_whole, windows
from conformance.vfio.memory.areas import Area

SAVING_STATES = (State.STOP_AND_COPY, State.PRE_COPY)
Stream = list[bytes]


@pytest.mark.rule("save.pending-pure")
def test_pending_is_pure(client: Client) -> None:
    """Read pending_bytes five times in stop-and-copy: the same each time."""
    client.migration.enter(State.STOP_AND_COPY)
    seen = [client.migration.pending_bytes for _ in range(5)]
    expect_equal(seen, seen[:1] * 5, did="read pending_bytes five times in stop-and-copy")


@pytest.mark.rule("save.pending-pure")
@pytest.mark.parametrize("state", by_state(SAVING_STATES))
def test_polling_loses_nothing(client: Client, state: State) -> None:
    """Poll pending_bytes before each buffer, as the monitor does: the stream is whole."""
    migration = client.migration
    migration.enter(state)
    stream = _read_polling(client)
    migration.enter(State.STOP_AND_COPY)
    stream += _read_polling(client)
    migration.enter(State.RUNNING)
    expect_whole(client, stream, did=f"poll before each buffer from state {state:d} on")


def _read_polling(client: Client) -> Stream:
    stream = []
    with client.moving() as move:
        while client.migration.pending_bytes and (buffer := client.read_buffer(move)):
            stream.append(buffer.data)
    return stream


@pytest.mark.rule("save.pending-pure")
@pytest.mark.parametrize("state", by_state(SAVING_STATES))
def test_polling_twice_after_each_buffer(client: Client, state: State) -> None:
    """Read pending_bytes twice after each buffer: only the first moves on, the stream is whole."""
    migration = client.migration
    migration.enter(state)
    stream = _read_polling_twice(client)
    migration.enter(State.STOP_AND_COPY)
    stream += _read_polling_twice(client)
    migration.enter(State.RUNNING)
    expect_whole(client, stream, did=f"poll twice after each buffer from state {state:d} on")


def _read_polling_twice(client: Client) -> Stream:
    stream = []
    with client.moving() as move:
        while buffer := client.read_buffer(move):
            stream.append(buffer.data)
            twice = (client.migration.pending_bytes, client.migration.pending_bytes)
            expect_equal(twice[1], twice[0], did="read pending_bytes twice after a buffer")
    return stream


@pytest.mark.rule("save.nothing")
def test_nothing_in_precopy(client: Client) -> None:
    """Take all that pre-copy has, poll on at 0: no error, and the migration goes on whole."""
    migration = client.migration
    migration.enter(State.PRE_COPY)
    stream = client.read_all()
    with expect_success(did="poll pending_bytes after the last buffer of pre-copy"):
        for _ in range(5):
            stream += client.read_all()
    migration.enter(State.STOP_AND_COPY)
    stream += client.read_all()
    migration.enter(State.RUNNING)
    expect_whole(client, stream, did="poll on at 0 in pre-copy, stop, save the rest")


@pytest.mark.rule("save.offset")
@pytest.mark.parametrize("state", by_state(SAVING_STATES))
def test_offset(reach: Reach, state: State) -> None:
    """Go through a save: data_offset is never 0 and never in the struct."""
    wrong = [window for window in windows(reach(state)) if window.offset < STRUCT_SIZE]
    expect_equal(wrong, [], did="read data_offset in each iteration")


@pytest.mark.rule("save.offset")
@pytest.mark.parametrize("state", by_state(SAVING_STATES))
def test_offset_is_aligned(reach: Reach, state: State) -> None:
    """Go through a save: data_offset is page aligned where the data can be mapped."""
    migration = reach(state)
    wrong = [window for window in windows(migration) if _misaligned(migration, window)]
    expect_equal(wrong, [], did="read data_offset in each iteration")


def _misaligned(migration: MigrationRegion, window: Announced) -> bool:
    first = Area(window.offset, 1)
    mappable = any(area.overlaps(first) for area in migration.region.runtime_areas)
    return mappable and window.offset % PAGE != 0


@pytest.mark.rule("save.offset")
def test_offset_for_resuming(resuming: MigrationRegion) -> None:
    """Read data_offset while resuming: past the struct, aligned where it can be mapped."""
    window = Announced(0, resuming.data_offset, 0)
    good = STRUCT_SIZE <= window.offset < resuming.size and not _misaligned(resuming, window)
    expect_true(
        good,
        did="read data_offset in state 4",
        expected="an offset past the struct, page aligned if it can be mapped",
        actual=f"{window.offset:#x}",
    )


@pytest.mark.rule("save.window")
@pytest.mark.parametrize("state", by_state(SAVING_STATES))
def test_window(reach: Reach, state: State) -> None:
    """Go through a save: each buffer ends inside the region."""
    migration = reach(state)
    wrong = [each for each in windows(migration) if each.end > migration.size]
    expect_equal(wrong, [], did=f"compare each buffer with the region's {migration.size:#x} bytes")


@pytest.mark.rule("save.stable")
def test_window_is_stable(migration: MigrationRegion, iteration: Buffer) -> None:
    """Read data_offset and data_size again, in both orders: the same within an iteration."""
    seen = [(migration.data_offset, migration.data_size) for _ in range(3)]
    size, offset = migration.data_size, migration.data_offset
    expected = [(iteration.offset, iteration.size)] * 4
    expect_equal([*seen, (offset, size)], expected, did="read data_offset, data_size again")


@pytest.mark.rule("save.stable")
@pytest.mark.parametrize("how", ["bulk", "u64", "u8"])
def test_data_is_stable(migration: MigrationRegion, iteration: Buffer, how: str) -> None:
    """Read the data of an iteration three times, asking each time where it is: the same bytes."""
    with edge_mover(migration, how) as move:
        again = [move.read(migration.data_offset, migration.data_size) for _ in range(2)]
    expect_equal(again, [iteration.data] * 2, did=f"read the data again, {how}")


def _read_it(client: Client, window: Announced) -> None:
    client.migration.region.read_exact(window.offset, window.size)


def _map_it(client: Client, window: Announced) -> None:
    if not client.migration.data_areas:
        pytest.skip("no part of the data section can be mapped")
    with mover(client.migration, "mmap") as move:
        move.read(window.offset, window.size)


def _leave_it(client: Client, window: Announced) -> None:
    del client, window


@pytest.mark.rule("save.consume")
@pytest.mark.parametrize("use", named({"read": _read_it, "mapped": _map_it, "left": _leave_it}))
def test_pending_consumes(
    client: Client, stream: Stream, use: Callable[[Client, Announced], None]
) -> None:
    """Read, map or leave each buffer: the next read of pending_bytes goes on to the next."""
    client.migration.enter(State.STOP_AND_COPY)
    taken = 0
    for window in windows(client.migration):
        taken += 1
        use(client, window)
    expect_equal(taken, len(stream), did="go through a save, count its buffers")


def _write_data_size(client: Client) -> None:
    with contextlib.suppress(OSError):
        client.migration.set_data_size(8)


NOT_CONSUMING: dict[str, Callable[[Client], Any]] = {
    "nothing": lambda _: None,
    "state-read": lambda client: client.migration.state,
    "reserved-read": lambda client: client.migration.reserved,
    "window-reads": lambda client: client.read_window(),
    "information": lambda client: client.migration.device.region_info(0),
    "registers": lambda client: registers_of(client.migration.device),
    "same-state": lambda client: client.migration.set_state(State.STOP_AND_COPY),
    "size-write": _write_data_size,
    "second-open": lambda client: client.migration.device.open_again().close(),
}


@pytest.mark.rule("save.consume")
@pytest.mark.parametrize("act", named(NOT_CONSUMING))
def test_nothing_else_consumes(
    client: Client, iteration: Buffer, act: Callable[[Client], Any]
) -> None:
    """Do anything but read pending_bytes within an iteration: the buffer stays, all of it."""
    act(client)
    window = (iteration.offset, iteration.size)
    expect_equal(client.read_window(), window, did="read data_offset, data_size after that")
    data = client.migration.region.read(*window)
    expect_equal(data, iteration.data, did="read the data after that")
    rest = client.read_all()
    client.migration.enter(State.RUNNING)
    expect_whole(client, [iteration.data, *rest], did="read the other buffers")


@pytest.mark.rule("save.terminates")
def test_terminates(client: Client) -> None:
    """Go through stop-and-copy: it comes to an end, and pending_bytes stays 0."""
    migration = client.migration
    migration.enter(State.STOP_AND_COPY)
    client.read_all()
    seen = {migration.pending_bytes for _ in range(5)}
    expect_equal(seen, {0}, did="read pending_bytes five times after the last buffer")
    expect_equal(migration.state, State.STOP_AND_COPY, did="read device_state after the save")


def _at_once(client: Client) -> Stream:
    del client
    return []


def _polled(client: Client) -> Stream:
    assert client.migration.pending_bytes >= 0
    return []


def _one_buffer(client: Client) -> Stream:
    with client.moving() as move:
        buffer = client.read_buffer(move)
    if buffer is None:
        return []
    assert client.migration.pending_bytes >= 0
    return [buffer.data]


LEAVING = named({"at-once": _at_once, "polled": _polled, "one-buffer": _one_buffer})


@pytest.mark.rule("save.precopy")
@pytest.mark.parametrize("so_far", LEAVING)
def test_precopy_can_be_left(client: Client, so_far: Callable[[Client], Stream]) -> None:
    """Leave pre-copy for stop-and-copy whatever is pending: the stream is whole."""
    client.migration.enter(State.PRE_COPY)
    stream = so_far(client)
    with expect_success(did="leave pre-copy, go through stop-and-copy"):
        client.migration.enter(State.STOP_AND_COPY)
        stream += client.read_all()
    client.migration.enter(State.RUNNING)
    expect_whole(client, stream, did="leave pre-copy early")


@pytest.mark.rule("save.precopy")
@pytest.mark.parametrize("so_far", LEAVING)
def test_precopy_can_be_given_up(client: Client, so_far: Callable[[Client], Stream]) -> None:
    """Give pre-copy up whatever is pending: the device runs."""
    client.migration.enter(State.PRE_COPY)
    so_far(client)
    with expect_success(did="3->1"):
        client.migration.enter(State.RUNNING)
    expect_equal(client.migration.state, State.RUNNING, did="3->1, read device_state")


@pytest.mark.rule("save.width-free")
@pytest.mark.parametrize("state", by_state(SAVING_STATES))
@pytest.mark.parametrize("how", [how for how in MOVERS if how != "bulk"])
def test_width_free(reach: Reach, how: str, state: State) -> None:
    """Read each buffer in bulk and in another way: the same bytes."""
    migration = reach(state)
    if how == "mmap" and not migration.data_areas:
        pytest.skip("no part of the data section can be mapped")
    with mover(migration, "bulk") as bulk, edge_mover(migration, how) as other:
        for window in windows(migration):
            data = bulk.read(window.offset, window.size)
            expect_equal(other.read(window.offset, window.size), data, did=f"read data, {how}")


@pytest.mark.rule("save.outside")
@pytest.mark.parametrize("field", ["data_offset", "data_size"])
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.RUNNING)))
def test_outside(reach: Reach, observe: Observe, state: State, field: str) -> None:
    """Read what belongs to a save in a state that does not save: an error or a harmless value."""
    migration = reach(state)
    seen = answer(migration, field)
    harmless = {"0": "zero"}.get(seen, "value" if seen.isdigit() else "error")
    expect_equal(migration.state, state, did=f"read {field} in state {state:d}: {seen}")
    observe("save.outside", "error" if seen.startswith("errno") else harmless)


OUTSIDE = (State.STOPPED, State.RUNNING, State.RESUMING, State.ERROR)


@pytest.mark.rule("save.outside")
@pytest.mark.parametrize("state", by_state(OUTSIDE))
def test_pending_outside(reach: Reach, state: State) -> None:
    """Poll pending_bytes where nothing is saved, as the monitor does: 0, without an error."""
    migration = reach(state)
    with expect_success(did=f"read pending_bytes in state {state:d}"):
        seen = [migration.pending_bytes for _ in range(3)]
    expect_equal(seen, [0, 0, 0], did=f"read pending_bytes three times in state {state:d}")
    expect_equal(migration.state, state, did="read device_state after that")


@pytest.mark.rule("save.outside")
@pytest.mark.parametrize("before", by_state(SAVING_STATES))
def test_pending_after_a_reset(reach: Reach, client: Client, before: State) -> None:
    """Reset within an iteration, poll pending_bytes, as the monitor does: 0, without an error."""
    migration = reach(before)
    if migration.pending_bytes:
        client.read_window()
    migration.device.reset()
    with expect_success(did=f"reset in state {before:d}, read pending_bytes"):
        seen = [migration.pending_bytes for _ in range(2)]
    expect_equal(seen, [0, 0], did=f"reset in state {before:d}, read pending_bytes twice")


@pytest.mark.rule("save.outside")
def test_polling_disturbs_no_resume(client: Client, stream: Stream) -> None:
    """Read pending_bytes after each half of a buffer while resuming: 0, and the resume goes on."""
    client.migration.enter(State.RESUMING)
    halves = [
        half for chunk in stream for half in (chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :])
    ]
    seen = []
    with expect_success(did="read pending_bytes after each half of a buffer while resuming, run"):
        for half in halves:
            client.write_all([half])
            seen.append(client.migration.pending_bytes)
        client.migration.set_state(State.RUNNING)
    expect_equal(set(seen), {0}, did="read pending_bytes while resuming")
