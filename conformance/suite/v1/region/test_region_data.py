# SPDX-License-Identifier: GPL-2.0-only
"""What the region shows behind the struct, when, and to several threads at once."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from threading import Barrier, Event
from typing import TypeVar

import pytest

from conformance.migration.stream import cut, joined, total
from conformance.migration.v1.client import Client
from conformance.migration.v1.region import STRUCT_SIZE, MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_success
from conformance.plugin.declared import Scratch
from conformance.suite.support.cases import named
from conformance.suite.support.steps import set_apart
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.sections import data_begins, holes, read_section, shared_words
from conformance.suite.v1.steps import attempt, expect_whole
from conformance.vfio.device import Device

THREADS = 4
#: Bytes that are given singly.
LOOKED_AT = 1 << 16
"""Bytes of a stream that are searched for a run; one of many MiB takes minutes under emulation."""

MOST = 256
EVERY = (
    State.STOPPED,
    State.RUNNING,
    State.STOP_AND_COPY,
    State.PRE_COPY,
    State.RESUMING,
    State.ERROR,
)
One = TypeVar("One")
SEEN = named({"read": False, "mapped": True})


def _fill(migration: MigrationRegion, rng: random.Random) -> bytes:
    """Fill the data section of a running device, which for that resumes; it stays in state 4."""
    migration.enter(State.RESUMING)
    offset = migration.data_offset
    mark = rng.randbytes(migration.size - offset)
    migration.region.write_exact(offset, mark)
    return mark


@pytest.mark.rule("region.clean")
@pytest.mark.parametrize("mapped", SEEN)
def test_nothing_of_the_last_user(
    migration: MigrationRegion, rng: random.Random, mapped: bool
) -> None:
    """Fill the data section, close, open: the section has nothing of it."""
    mark = _fill(migration, rng)
    migration.device.reopen()
    found = shared_words(mark, read_section(migration, mapped=mapped))
    expect_equal(found, 0, did="fill the data section, close, open, count its words that are left")


@pytest.mark.rule("region.clean")
@pytest.mark.parametrize("mapped", SEEN)
def test_nothing_of_the_last_stream(
    client: Client, scratch: list[Scratch], rng: random.Random, mapped: bool
) -> None:
    """Save a device with marks in its registers, close, open: the section has none of them."""
    set_apart(scratch, rng.randrange(1 << 32))
    client.migration.enter(State.STOP_AND_COPY)
    stream = client.read_all()
    client.migration.device.reopen()
    found = shared_words(joined(stream), read_section(client.migration, mapped=mapped))
    expect_equal(found, 0, did="save, close, open, count the words of the stream that are left")


@pytest.mark.rule("region.clean")
@pytest.mark.parametrize("mapped", SEEN)
@pytest.mark.parametrize("path", [(2, 0), (2, 1), (3, 1), (3, 2, 1)], ids=str)
def test_nothing_of_a_save_outside(client: Client, path: tuple[int, ...], mapped: bool) -> None:
    """Save, leave the saving states: the section has nothing of the stream."""
    *saving, last = path
    stream = []
    for state in saving:
        client.migration.enter(state)
        stream += client.read_all()
    client.migration.enter(last)
    found = shared_words(joined(stream), read_section(client.migration, mapped=mapped))
    expect_equal(found, 0, did=f"write {path}, count the words of the stream that are left")


@pytest.mark.rule("region.clean")
@pytest.mark.parametrize("mapped", SEEN)
@pytest.mark.parametrize("way", ["4->1", "4->6", "reset"])
def test_nothing_of_a_resume_outside(
    client: Client, stream: list[bytes], way: str, mapped: bool
) -> None:
    """Resume, or fail to, or reset on the way: the section has nothing of the stream."""
    client.migration.enter(State.RESUMING)
    client.write_all(stream if way != "4->6" else cut(stream, total(stream) - 1))
    if way == "reset":
        client.migration.device.reset()
    else:
        attempt(client.migration, State.RUNNING)
    found = shared_words(joined(stream), read_section(client.migration, mapped=mapped))
    expect_equal(found, 0, did=f"give a stream, {way}, count its words that are left")


@pytest.mark.rule("region.hole")
@pytest.mark.parametrize("state", by_state(EVERY))
def test_hole_reads_zero(reach: Reach, client: Client, state: State) -> None:
    """Read between struct and data in any state, in each width and as a whole: zeros or errors."""
    begin = data_begins(client)
    migration = reach(state)
    seen = {data for data in holes(migration, begin) if any(data)}
    expect_equal(seen, set(), did=f"in state {state:d} read from {STRUCT_SIZE:#x} to {begin:#x}")


@pytest.mark.rule("region.hole")
@pytest.mark.parametrize("state", by_state(EVERY))
def test_hole_remembers_nothing(reach: Reach, client: Client, state: State) -> None:
    """Write between struct and data in any state: an error or ignored, and it is not read back."""
    begin = data_begins(client)
    migration = reach(state)
    for offset in range(STRUCT_SIZE, begin, 8):
        with suppress(OSError):
            migration.region.write(offset, b"\xa5" * 8)
    with suppress(OSError):
        migration.region.write(STRUCT_SIZE, b"\xa5" * (begin - STRUCT_SIZE))
    seen = {data for data in holes(migration, begin) if any(data)}
    expect_equal(
        seen, set(), did=f"in state {state:d} write and read {STRUCT_SIZE:#x} to {begin:#x}"
    )
    expect_equal(migration.state, state, did="read device_state after that")


@pytest.mark.rule("region.caps-constant")
@pytest.mark.parametrize("state", by_state(EVERY))
def test_capabilities_do_not_come_and_go(device: Device, reach: Reach, state: State) -> None:
    """Ask every region in _RUNNING and in another state: the answers are the same."""
    before = [device.region_info(region.index) for region in device.regions]
    reach(state)
    now = [device.region_info(info.index) for info in before]
    expect_equal(now, before, did=f"ask for all regions in states 1 and {state:d}")


@pytest.mark.rule("region.caps-constant")
def test_capabilities_outlive_a_reset(device: Device, reach: Reach) -> None:
    """Ask every region before a save, after a reset and after an open: the answers are the same."""
    before = [device.region_info(region.index) for region in device.regions]
    reach(State.STOP_AND_COPY)
    device.reset()
    after = [device.region_info(info.index) for info in before]
    device.reopen()
    opened = [device.region_info(info.index) for info in before]
    expect_equal((after, opened), (before, before), did="ask for all regions, reset, open")


def _states_seen(migration: MigrationRegion, act: Callable[[], None]) -> set[int]:
    """Do something while threads read device_state all the time; return what they have read."""
    done = Event()

    def read() -> set[int]:
        seen: set[int] = set()
        while not done.is_set():
            seen.add(int.from_bytes(migration.device.pread(4, migration.region.offset), "little"))
        return seen

    with ThreadPoolExecutor(THREADS) as pool:
        readers = [pool.submit(read) for _ in range(THREADS)]
        try:
            act()
        finally:
            done.set()
        return set().union(*(reader.result() for reader in readers))


@pytest.mark.rule("region.threads")
def test_whole_states(migration: MigrationRegion) -> None:
    """Write 3 and 1 in turns while threads read: each sees one of the two, never another."""
    turns = (State.PRE_COPY, State.RUNNING) * 50
    seen = _states_seen(migration, lambda: migration.enter(*turns))
    expect_equal(seen - {1, 3}, set(), did="read device_state while it is 1 and 3 in turns")


def _at_once(call: Callable[[], One], rounds: int = 1) -> list[One]:
    """Make a call in several threads, which begin each round together; return what each returned.

    Of several rounds the results follow one another.
    """
    barrier = Barrier(THREADS)

    def calls() -> list[One]:
        made = []
        for _ in range(rounds):
            barrier.wait()
            made.append(call())
        return made

    with ThreadPoolExecutor(THREADS) as pool:
        parts = [each.result() for each in [pool.submit(calls) for _ in range(THREADS)]]
    return [one for part in parts for one in part]


@pytest.mark.rule("region.threads")
@pytest.mark.parametrize("turn", range(5))
def test_a_buffer_is_consumed_once(client: Client, stream: list[bytes], turn: int) -> None:
    """Read pending_bytes in several threads after each buffer: they agree, nothing is lost."""
    migration = client.migration
    migration.enter(State.STOP_AND_COPY)
    taken, pending = [], [migration.pending_bytes]
    while pending[0]:
        taken.append(migration.region.read_exact(*client.read_window()))
        pending = _at_once(lambda: migration.pending_bytes)
        expect_equal(len(set(pending)), 1, did=f"turn {turn}, {THREADS} reads of pending_bytes")
    migration.enter(State.RUNNING)
    expect_equal(len(taken), len(stream), did="count the buffers that were taken so")
    expect_whole(client, taken, did="read pending_bytes in threads after each buffer")


def _longest_run(data: bytes) -> tuple[int, int]:
    """Return begin and length of the longest run of equal bytes."""
    at = best = length = 0
    for _, group in groupby(data):
        count = len(list(group))
        if count > length:
            best, length = at, count
        at += count
    return best, length


@pytest.mark.rule("region.threads")
@pytest.mark.parametrize("turn", range(5))
def test_a_chunk_is_taken_once(client: Client, scratch: list[Scratch], turn: int) -> None:
    """Give equal bytes of a stream singly, from several threads at once: each is taken once."""
    for place in scratch:
        place.write(0)
    client.migration.enter(State.STOP_AND_COPY)
    data = joined(client.read_all())
    client.migration.enter(State.RUNNING, State.RESUMING)
    begin, length = _longest_run(data[:LOOKED_AT])
    length = min(length, MOST)
    with expect_success(did=f"turn {turn}, give {length} bytes {data[begin]:#x} from threads"):
        client.write_all([data[:begin]] if begin else [])
        _give_singly(client.migration, data[begin : begin + length])
        client.write_all([rest] if (rest := data[begin + length :]) else [])
        client.migration.set_state(State.RUNNING)


def _give_singly(migration: MigrationRegion, data: bytes) -> None:
    """Give equal bytes one at a time, THREADS of them at once, the others one by one."""
    migration.region.write_exact(migration.data_offset, data[:1])
    rounds, rest = divmod(len(data), THREADS)
    _at_once(lambda: migration.set_data_size(1), rounds)
    for _ in range(rest):
        migration.set_data_size(1)


@pytest.mark.rule("region.threads")
def test_data_is_written_inside(resuming: MigrationRegion) -> None:
    """Write different parts of the section in threads: each part has its own bytes."""
    offset = resuming.data_offset
    part = min((resuming.size - offset) // THREADS, 1 << 14)
    marks = [bytes([0x11 * (number + 1)]) * part for number in range(THREADS)]

    def write(number: int) -> None:
        for _ in range(20):
            resuming.region.write_exact(offset + number * part, marks[number])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, range(THREADS)))
    seen = [resuming.region.read_exact(offset + n * part, part) for n in range(THREADS)]
    expect_equal(seen == marks, True, did="write parts of the section in threads, read them")


@pytest.mark.rule("region.threads")
def test_one_thread_starts(client: Client) -> None:
    """Write 2 in several threads at once: all succeed, and the device is saved whole."""
    migration = client.migration
    results = _at_once(lambda: attempt(migration, State.STOP_AND_COPY))
    expect_equal(results, [None] * THREADS, did=f"write 2 in {THREADS} threads at once")
    expect_equal(migration.state, State.STOP_AND_COPY, did="read device_state after that")
    stream = client.read_all()
    migration.enter(State.RUNNING)
    expect_whole(client, stream, did=f"write 2 in {THREADS} threads at once, save")
