# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a BAR: what is stored, which bits can be written, how often each was used."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

WIDTH = 4
"""Bytes of a register. Wider accesses are several, narrower ones a part of one."""

_ALL = 0xFFFF_FFFF


@dataclass(frozen=True)
class Register:
    """A register, or several alike.

    Attributes:
        name: As the data sheet calls it.
        offset: Of the first, bytes from the BAR's start.
        count: How many there are.
        writable: The bits that a write changes; the others are read-only or reserved.
        reset: Value after a reset.
    """

    name: str
    offset: int
    count: int = 1
    writable: int = _ALL
    reset: int = 0


class RegisterFile:
    """All of a BAR. What no register describes reads as zero and ignores writes.

    Attributes:
        size: Bytes.
        reads: Per 4 bytes of the BAR, the read accesses since the server's start.
        writes: The same for write accesses.
    """

    def __init__(self, size: int, registers: Iterable[Register]) -> None:
        self.size = size
        words = [0] * (size // WIDTH)
        self.reads = array("I", words)
        self.writes = array("I", words)
        self._values = array("I", words)
        self._writable = array("I", words)
        self._reset = array("I", words)
        for register in registers:
            first = register.offset // WIDTH
            for word in range(first, first + register.count):
                self._writable[word] = register.writable
                self._reset[word] = register.reset
        self._written: Callable[[int, int], None] = lambda _offset, _value: None
        self.reset()

    def on_write(self, call: Callable[[int, int], None]) -> None:
        """Call `call` with the offset of each written register and the value.

        It is called after the writable bits were stored. Bits of a narrow access that were not
        written are those that were stored before.
        """
        self._written = call

    def reset(self) -> None:
        """Give all registers their reset value. The counts stay."""
        self._values[:] = self._reset

    def peek(self, offset: int) -> int:
        """Return a register's value; counts nothing."""
        return self._values[offset // WIDTH]

    def poke(self, offset: int, value: int) -> None:
        """Set a register as the hardware itself does: all bits, nothing counted."""
        self._values[offset // WIDTH] = value & _ALL

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes; every register that is touched counts one read."""
        first, end = offset // WIDTH, -(-(offset + count) // WIDTH)
        for word in range(first, end):
            self.reads[word] += 1
        data = b"".join(self._values[word].to_bytes(WIDTH, "little") for word in range(first, end))
        start = offset - first * WIDTH
        return data[start : start + count]

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes, register by register; every one that is touched counts one write."""
        done = 0
        while done < len(data):
            word, start = divmod(offset + done, WIDTH)
            piece = data[done : done + WIDTH - start]
            done += len(piece)
            raw = bytearray(self._values[word].to_bytes(WIDTH, "little"))
            raw[start : start + len(piece)] = piece
            self._write(word, int.from_bytes(raw, "little"))

    def _write(self, word: int, value: int) -> None:
        self.writes[word] += 1
        writable = self._writable[word]
        self._values[word] = (self._values[word] & ~writable & _ALL) | (value & writable)
        self._written(word * WIDTH, value)
