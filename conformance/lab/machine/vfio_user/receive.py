# SPDX-License-Identifier: GPL-2.0-only
"""The receive engine: fills posted buffers by DMA, at the rate that a test asks for.

The queue is the admin receive queue. Of the receive queues of a virtual function it is the one
whose base, length, head and tail are registers of the function; the contexts of the others are in
the physical function's memory. What a physical function would send stands for packets here.

A descriptor has 32 bytes, little-endian. As it is posted: flags at 0, size of the buffer at 4
(u16), high half of the buffer's address at 24, low half at 28. The engine writes the buffer first,
then the descriptor: flags get DD and CMP, the opcode at 2 is "message to the virtual function",
the size is what was written, the cookie at 8 (u64) is the number of the message, and the address is
gone. Then the head moves on. A buffer begins with the number of the message (u64) and is filled
with bytes that follow from it.

It runs while the queue is enabled, the function has bus master and is in D0, and the rate is not 0.
If memory is not mapped the queue stops with its bit for a critical error.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from conformance.lab.machine.vfio_user.memory import DmaError, DmaMemory

DESCRIPTOR = 32
DONE = 0x0003
"""DD and CMP, in the flags."""
OPCODE = 0x0801
BUFFER = 4096
"""Bytes written to a buffer that names no smaller size."""
KEPT = 4096
"""Writes that are remembered."""
_MOST = 64  # descriptors at a time, so that the client is answered in between
_HEAD = struct.Struct("<HHHHQ")  # flags, opcode, size, return value, cookie
_ADDRESS = struct.Struct("<II")  # high, low


@dataclass(frozen=True)
class Ring:
    """The queue as its registers say now.

    Attributes:
        base: IOVA of the first descriptor.
        length: Number of descriptors.
        head: The next one to be filled.
        tail: The first one that is not posted.
    """

    base: int
    length: int
    head: int
    tail: int


@dataclass(frozen=True)
class Write:
    """A buffer that was filled.

    Attributes:
        iova: Where.
        size: How much, in bytes.
        when: Milliseconds since the engine was made.
    """

    iova: int
    size: int
    when: int


class ReceiveEngine:
    """The engine of one function.

    Args:
        memory: What it can access.
        ring: Returns the queue, or None while it cannot run.
        advance: Moves the head.
        fail: Reports memory that was not mapped.
        clock: Returns seconds.

    Attributes:
        count: Buffers that were filled since the server's start.
        faults: Accesses that failed.
    """

    def __init__(
        self,
        memory: DmaMemory,
        ring: Callable[[], Ring | None],
        advance: Callable[[int], None],
        fail: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._ring = ring
        self._advance = advance
        self._fail = fail
        self._clock = clock
        self._began = clock()
        self._period = 0.0
        self._due: float | None = None  # None while nothing can be filled
        self._writes: deque[Write] = deque(maxlen=KEPT)
        self.count = 0
        self.faults = 0

    def set_rate(self, rate: int) -> None:
        """Fill so many buffers a second from now on; none with 0."""
        self._period = 1 / rate if rate else 0.0
        self._due = None

    def write_of(self, number: int) -> Write | None:
        """Return a write by its number, from 0; None if there is none, or none any more."""
        first = self.count - len(self._writes)
        return self._writes[number - first] if first <= number < self.count else None

    def pause(self) -> float | None:
        """Return the seconds until there is something to do; None if only a request changes that.

        Time in which nothing could be filled is not made up for.
        """
        self._next()
        return None if self._due is None else max(0.0, self._due - self._clock())

    def run(self) -> None:
        """Fill the buffers that are due."""
        for _ in range(_MOST):
            ring = self._next()
            if ring is None or self._due is None or self._clock() < self._due:
                return
            self._due += self._period
            try:
                self._fill(ring)
            except DmaError:
                self.faults += 1
                self._fail()

    def _next(self) -> Ring | None:
        """Return the queue if a buffer can be filled, and know since when one can."""
        ring = self._ring() if self._period else None
        if ring and (ring.head == ring.tail or max(ring.head, ring.tail) >= ring.length):
            ring = None
        if ring is None:
            self._due = None
        elif self._due is None:
            self._due = self._clock() + self._period
        return ring

    def _fill(self, ring: Ring) -> None:
        at = ring.base + ring.head * DESCRIPTOR
        descriptor = bytearray(self._memory.read(at, DESCRIPTOR))
        flags, _, room, *_ = _HEAD.unpack_from(descriptor)
        high, low = _ADDRESS.unpack_from(descriptor, 24)
        size = min(room, BUFFER) or BUFFER
        iova = high << 32 | low
        self._memory.write(iova, contents(self.count, size))
        written = _HEAD.pack(flags | DONE, OPCODE, size, 0, self.count)
        self._memory.write(at, written.ljust(DESCRIPTOR, b"\0"))
        self._advance((ring.head + 1) % ring.length)
        self._writes.append(Write(iova, size, int((self._clock() - self._began) * 1000)))
        self.count += 1


def contents(number: int, size: int) -> bytes:
    """Return what a buffer holds that was filled with a message."""
    body = bytes((number + at) % 251 + 1 for at in range(256))
    return (number.to_bytes(8, "little") + body * (size // len(body) + 1))[:size]
