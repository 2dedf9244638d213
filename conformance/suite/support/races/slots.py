# SPDX-License-Identifier: GPL-2.0-only
"""Slots in shared memory, in which racing parties publish what they hold, without locks.

Each slot is one 8-byte word: a count of changes and a phase, written by one party alone. A party
writes MAYBE before a call that changes what it holds and the outcome after it. So HELD means
that the mapping is certainly there, FREE that it certainly is not, and a slot that reads the
same twice did not change in between.
"""

import ctypes
import mmap
from enum import IntEnum
from typing import Final

_WORD: Final = 8
_SIZE: Final = 4096


class Phase(IntEnum):
    """What is known of something that a call may be changing just now."""

    FREE = 0
    MAYBE = 1
    HELD = 2


class Slots:
    """The slots at an address, valid in every process forked later."""

    def __init__(self, address: int) -> None:
        self.address = address

    def _word(self, slot: int) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self.address + slot * _WORD)

    def read(self, slot: int) -> int:
        """Return the whole word: equal words mean that nothing changed."""
        return int(self._word(slot).value)

    def phase(self, slot: int) -> Phase:
        """Return what the slot says now."""
        return Phase(self.read(slot) & 3)

    def write(self, slot: int, phase: Phase) -> None:
        """Publish a phase. Each slot has one writer."""
        word = self._word(slot)
        word.value = ((word.value >> 2) + 1) << 2 | phase


class SharedMemory:
    """The page that holds the slots; keep it while any party may read them."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, _SIZE)
        self._anchor = ctypes.c_char.from_buffer(self._page)
        self.address = ctypes.addressof(self._anchor)
