# SPDX-License-Identifier: GPL-2.0-only
"""The receive engine of the i40e model: posted buffers are filled, when it may and as it says."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conformance.lab.machine.vfio_user.errors import RefusedError
from conformance.lab.machine.vfio_user.i40e import I40eVirtualFunction
from conformance.lab.machine.vfio_user.memory import DmaError, DmaMemory
from conformance.lab.machine.vfio_user.receive import contents
from conformance.uapi.constants import VFIO_PCI_CONFIG_REGION_INDEX as CONFIG

BAL, BAH, LEN, HEAD, TAIL = 0x6C00, 0x6000, 0x8000, 0x7400, 0x7000
ENABLE, CRITICAL = 1 << 31, 1 << 30
RING, BUFFERS, PAGE = 0x10_0000_0000, 0x10_0010_0000, 4096
ENTRIES = 8
HOOK = 0x7C
READ, WRITE = 1, 2


class Machine:
    """A function with a ring of 8 descriptors of 4 KiB, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.function = I40eVirtualFunction(lambda: self.now)
        self.fd = os.memfd_create("ram")
        os.ftruncate(self.fd, (1 + ENTRIES) * PAGE)
        memory = self.function.memory
        memory.map(RING, PAGE, READ | WRITE, 0, self.fd)
        memory.map(BUFFERS, ENTRIES * PAGE, READ | WRITE, PAGE, self.fd)
        for entry in range(ENTRIES):
            self.describe(entry)
        for offset, value in ((BAL, RING), (BAH, RING >> 32), (LEN, ENABLE | ENTRIES)):
            self.put(offset, value)
        self.put(4, 0x4, CONFIG)  # bus master

    def describe(self, entry: int, size: int = PAGE, iova: int | None = None) -> None:
        iova = BUFFERS + entry * PAGE if iova is None else iova
        raw = struct.pack("<HHHHQQII", 0x1200, 0, size, 0, 0, 0, iova >> 32, iova & 0xFFFFFFFF)
        os.pwrite(self.fd, raw, entry * 32)

    def descriptor(self, entry: int) -> tuple[int, ...]:
        return struct.unpack("<HHHHQQII", os.pread(self.fd, 32, entry * 32))

    def buffer(self, entry: int) -> bytes:
        return os.pread(self.fd, PAGE, (1 + entry) * PAGE)

    def put(self, offset: int, value: int, region: int = 0) -> None:
        self.function.write(region, offset, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def get(self, offset: int, region: int = 0) -> int:
        return int.from_bytes(self.function.read(region, offset, 4), "little")

    def rate(self, rate: int) -> None:
        self.put(HOOK + 8, rate, CONFIG)

    def seen(self, number: int) -> tuple[int, ...]:
        """Writes, faults; page, size and time of a write."""
        self.put(HOOK + 12, number, CONFIG)
        return struct.unpack("<5I", self.function.read(CONFIG, HOOK + 16, 20))

    def let(self, seconds: float) -> int:
        """Let time pass as the server does; return how many buffers were filled meanwhile."""
        before, end = self.seen(0)[0], self.now + seconds
        while (pause := self.function.pause()) is not None and self.now + pause <= end:
            self.now += pause
            self.function.run()
        self.now = end
        return self.seen(0)[0] - before


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.function.memory.clear()
    os.close(made.fd)


def test_fills_what_is_posted_at_the_rate(machine: Machine) -> None:
    machine.put(TAIL, 5)
    machine.rate(10)
    assert machine.let(0.35) == 3
    assert machine.get(HEAD) == 3
    assert [machine.buffer(entry) for entry in range(3)] == [contents(n, PAGE) for n in range(3)]
    assert machine.buffer(3) == bytes(PAGE)
    assert machine.let(10) == 2, "the tail ends it"
    assert machine.get(HEAD) == 5


def test_writes_descriptors_back(machine: Machine) -> None:
    machine.put(TAIL, 1)
    machine.rate(1000)
    machine.describe(0, size=512)
    machine.let(1)
    assert machine.descriptor(0) == (0x1203, 0x0801, 512, 0, 0, 0, 0, 0)
    assert machine.buffer(0) == contents(0, 512).ljust(PAGE, b"\0")
    assert machine.descriptor(1)[0] == 0x1200


def test_wraps_around(machine: Machine) -> None:
    machine.rate(1000)
    machine.put(TAIL, 7)
    assert machine.let(1) == 7
    machine.describe(7)
    machine.describe(0)
    machine.put(TAIL, 1)
    assert machine.let(1) == 2
    assert machine.get(HEAD) == 1
    assert machine.buffer(0) == contents(8, PAGE)


def test_tells_what_it_wrote_and_when(machine: Machine) -> None:
    machine.put(TAIL, 3)
    machine.rate(8)
    machine.let(0.3)
    assert machine.seen(0) == (2, 0, BUFFERS >> 12, PAGE, 125)
    assert machine.seen(1) == (2, 0, (BUFFERS >> 12) + 1, PAGE, 250)
    assert machine.seen(2) == (2, 0, 0, 0, 0)


def _disable(machine: Machine) -> None:
    machine.put(LEN, ENTRIES)


def _take_bus(machine: Machine) -> None:
    machine.put(4, 0, CONFIG)


def _sleep(machine: Machine) -> None:
    machine.put(0x44, 3, CONFIG)


def _reset(machine: Machine) -> None:
    machine.function.reset()


@pytest.mark.parametrize("stop", [_disable, _take_bus, _sleep, _reset])
def test_stops_at_once(machine: Machine, stop: object) -> None:
    machine.put(TAIL, 7)
    machine.rate(10)
    machine.let(0.25)
    assert callable(stop)
    stop(machine)
    machine.now += 10
    machine.function.run()
    assert machine.seen(0)[0] == 2


def test_makes_up_for_no_lost_time(machine: Machine) -> None:
    machine.put(TAIL, 7)
    machine.rate(10)
    _take_bus(machine)
    assert machine.let(10) == 0
    machine.put(4, 4, CONFIG)
    assert machine.let(0.15) == 1


@pytest.mark.parametrize("read_only", [False, True])
def test_memory_that_is_not_mapped_stops_the_queue(machine: Machine, read_only: bool) -> None:
    memory = machine.function.memory
    memory.unmap(BUFFERS, ENTRIES * PAGE)
    if read_only:
        memory.map(BUFFERS, ENTRIES * PAGE, READ, PAGE, machine.fd)
    machine.put(TAIL, 3)
    machine.rate(10)
    assert machine.let(1) == 0
    assert machine.seen(0)[:2] == (0, 1)
    assert machine.get(LEN) == CRITICAL | ENTRIES
    assert machine.descriptor(0)[0] == 0x1200, "nothing is written back"


@pytest.mark.parametrize("tail", [ENTRIES, 0x3FF])
def test_tail_beyond_the_ring_fills_nothing(machine: Machine, tail: int) -> None:
    machine.rate(10)
    machine.put(TAIL, tail)
    assert machine.let(1) == 0


@contextmanager
def _file(size: int) -> Iterator[int]:
    fd = os.memfd_create("ram")
    os.ftruncate(fd, size)
    try:
        yield fd
    finally:
        os.close(fd)


def test_memory_reads_and_writes_across_ranges() -> None:
    rng = random.Random(1)  # noqa: S311 - repeatable on purpose
    memory = DmaMemory()
    with _file(16 * PAGE) as fd:
        places = rng.sample(range(16), 16)
        for number, place in enumerate(places):
            memory.map(number * PAGE, PAGE, READ | WRITE, place * PAGE, fd)
        data = rng.randbytes(5 * PAGE)
        memory.write(PAGE // 2, data)
        assert memory.read(PAGE // 2, len(data)) == data
        assert os.pread(fd, PAGE, places[1] * PAGE) == data[PAGE // 2 : PAGE // 2 + PAGE]
        memory.unmap(2 * PAGE, PAGE)
        with pytest.raises(DmaError, match="0x2000 is not mapped"):
            memory.write(0, bytes(3 * PAGE))
        assert memory.read(PAGE // 2, PAGE) == data[:PAGE], "all is written or nothing"
        with pytest.raises(RefusedError):
            memory.map(PAGE + 512, PAGE, READ, 0, fd)
        memory.clear()


def test_memory_beyond_the_file_is_known_and_not_accessible() -> None:
    memory = DmaMemory()
    with _file(PAGE) as fd:
        memory.map(0, 2 * PAGE, READ | WRITE, 0, fd)
        with pytest.raises(DmaError):
            memory.read(0, 1)
        memory.clear()
