# SPDX-License-Identifier: GPL-2.0-only
"""A guest's driver of the admin receive queue of an XL710 virtual function.

Registers and layout of a descriptor are those of the data sheet. Who fills it is the lab's model of
the function, on demand; it also tells which buffers it has filled.
"""

import struct
from typing import Final

from conformance.vfio.iommu.guest_memory import IOVA, PAGE
from conformance.vfio.labdevice.traffic import LabTraffic
from conformance.vfio.receiving.receiver import ENTRIES, Receiver
from conformance.vfio.region import Region

BASE: Final = 0x6C00
BASE_HIGH: Final = 0x6000
LENGTH: Final = 0x8000
HEAD: Final = 0x7400
TAIL: Final = 0x7000
ENABLE: Final = 1 << 31
DONE: Final = 0x0003

_DESCRIPTOR: Final = struct.Struct("<HHHHQQII")
_FLAGS: Final = 0x1200  # a buffer, a large one


class AdminReceiver(Receiver):
    """The admin receive queue of one function."""

    SIZE = 32
    TAIL = TAIL
    NUMBER = 0

    def _set_up(self) -> None:
        for register, value in (
            (LENGTH, 0),
            (HEAD, 0),
            (TAIL, 0),
            (BASE, IOVA),
            (BASE_HIGH, IOVA >> 32),
            (LENGTH, ENABLE | ENTRIES),
        ):
            self._bar.write_int(register, value & 0xFFFFFFFF)

    def _switch_off(self, bar: Region) -> None:
        bar.write_int(LENGTH, 0)

    def descriptor(self, page: int, size: int = PAGE, offset: int = 0) -> bytes:
        """Return a descriptor that posts a buffer, which begins in a page of the memory."""
        iova = IOVA + page * PAGE + offset
        return _DESCRIPTOR.pack(_FLAGS, 0, size, 0, 0, 0, iova >> 32, iova & 0xFFFFFFFF)

    def resize(self, entries: int) -> None:
        """Give the ring another number of descriptors while it is on."""
        self._bar.write_int(LENGTH, ENABLE | entries)

    def write_tail(self, index: int) -> None:
        """Post what is described before a descriptor, by write()."""
        self._bar.write_int(TAIL, index)

    def set_base(self, page: int) -> None:
        """Move the ring to a page, as it is."""
        self._bar.write_int(BASE, (IOVA + page * PAGE) & 0xFFFFFFFF)

    def set_head(self, index: int) -> None:
        """Have the device go on with a descriptor, such as one that it has done. It must stand."""
        self._bar.write_int(HEAD, index)

    def _is_done(self, descriptor: bytes) -> bool:
        flags: int = _DESCRIPTOR.unpack(descriptor)[0]
        return flags & DONE == DONE

    def pages(self, first: int, end: int) -> set[int]:
        """Return the pages that the device wrote, by the numbers of its writes."""
        assert isinstance(self.traffic, LabTraffic)
        writes = map(self.traffic.write_of, range(first, end))
        return {write.page - IOVA // PAGE for write in writes}

    def announce(self) -> None:
        """Nobody needs to know: the model fills what is posted."""
