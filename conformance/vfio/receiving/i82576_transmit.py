# SPDX-License-Identifier: GPL-2.0-only
"""A guest's driver of a transmit queue of an 82576 virtual function.

The device writes to memory when it sends, too: it marks the descriptor as done or, if it is asked
to, writes its head somewhere. The physical function must let the function send, see
`PacketReceiver.announce`.
"""

import struct
from typing import Final

from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, GuestMemory
from conformance.vfio.receiving.packets import ETHERTYPE, SMALLEST, address_of

BASE: Final = 0x3800
BASE_HIGH: Final = 0x3804
LENGTH: Final = 0x3808
HEAD: Final = 0x3810
TAIL: Final = 0x3818
ENABLES: Final = 0x3828
WRITE_BACK: Final = 0x3838
WRITE_BACK_HIGH: Final = 0x383C
STRIDE: Final = 0x100
ENABLE: Final = 1 << 25
WRITES_HEAD: Final = 1 << 0
DONE: Final = 1 << 0

ENTRIES: Final = 16
QUEUES: Final = (0, 1)
SIZE: Final = 16
"""Bytes of a descriptor."""

_DESCRIPTOR: Final = struct.Struct("<QII")
_DATA, _ADVANCED = 3 << 20, 1 << 29
_END, _CHECKSUM, _REPORT = 1 << 24, 1 << 25, 1 << 27
_NOBODY: Final = bytes.fromhex("0276ffffffff")


class Transmitter:
    """A queue, which is off at first.

    Args:
        device: The function.
        memory: Where rings and frames are.
        queue: Its number, 0 or 1.
    """

    def __init__(self, device: Device, memory: GuestMemory, queue: int) -> None:
        self._bar = device.region(0)
        self._memory = memory
        self._at = queue * STRIDE
        self._ring = self._next = 0
        self._entries = ENTRIES
        self._head: int | None = None
        self._frame = _NOBODY + address_of(device.bdf) + ETHERTYPE + bytes(SMALLEST - 14)

    def start(
        self, ring: int, head: int | None = None, entries: int = ENTRIES, first: int = 0
    ) -> None:
        """Have an empty ring; one that is on is switched off before.

        Args:
            ring: Where it is: an offset in the memory, of which 128 is a divisor.
            head: Where the device writes its head instead of marking descriptors.
            entries: Number of descriptors, a multiple of 8.
            first: The descriptor that is the next one to be used.
        """
        self.stop()
        self._ring, self._entries, self._next = ring, entries, first
        for register, value in (
            (BASE, IOVA + ring),
            (BASE_HIGH, IOVA >> 32),
            (LENGTH, entries * SIZE),
            (HEAD, first),
            (TAIL, first),
        ):
            self._write(register, value)
        self.write_head(head)
        self._write(ENABLES, ENABLE)

    def write_head(self, head: int | None) -> None:
        """Have the device write its head to a place in the memory, or mark descriptors."""
        self._head = head
        place = 0 if head is None else IOVA + head | WRITES_HEAD
        self._write(WRITE_BACK_HIGH, place >> 32)
        self._write(WRITE_BACK, place)

    def move(self, ring: int) -> None:
        """Go on in another ring, by a write of the low half of its address alone."""
        self._ring = ring
        self._write(BASE, IOVA + ring)

    def resize(self, entries: int) -> None:
        """Give the ring another number of descriptors while it is on."""
        self._entries = entries
        self._write(LENGTH, entries * SIZE)

    def _write(self, register: int, value: int) -> None:
        self._bar.write_int(self._at + register, value & 0xFFFFFFFF)

    def stop(self) -> None:
        """Switch it off, and leave no address in its registers."""
        for register in (ENABLES, LENGTH, WRITE_BACK):
            self._write(register, 0)

    def send(self, page: int, count: int = 1) -> None:
        """Send the same frame to nobody some times, from a page of the memory."""
        kind = _DATA | _ADVANCED | _END | _CHECKSUM | _REPORT | SMALLEST
        self._memory.write(page * PAGE, self._frame)
        descriptor = _DESCRIPTOR.pack(IOVA + page * PAGE, kind, SMALLEST << 14)
        for _ in range(count):
            self._memory.write(self._ring + self._next * SIZE, descriptor)
            self._next = (self._next + 1) % self._entries
        self._write(TAIL, self._next)

    def is_done(self) -> bool:
        """Return whether the device has said that it has sent all."""
        if self._head is not None:
            return self._memory.read(self._head, 4) == self._next.to_bytes(4, "little")
        last = self._ring + (self._next - 1) % self._entries * SIZE
        status: int = _DESCRIPTOR.unpack(self._memory.read(last, SIZE))[2]
        return bool(status & DONE)
