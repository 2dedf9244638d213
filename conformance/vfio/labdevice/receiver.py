# SPDX-License-Identifier: GPL-2.0-only
"""A guest's driver of a receive queue, for a device of the lab that fills it on demand.

It is an admin receive queue, which is set up by registers and posts buffers by its tail, all by
read() and write(), as a virtual machine monitor passes on what its guest does. Registers and layout
of a descriptor are those of the XL710 data sheet.
"""

import random
import struct
from typing import Final

from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES, LoggedMemory
from conformance.vfio.labdevice.traffic import Traffic
from conformance.vfio.pci.config import MASTER, Config
from conformance.vfio.region import Region

BASE: Final = 0x6C00
BASE_HIGH: Final = 0x6000
LENGTH: Final = 0x8000
HEAD: Final = 0x7400
TAIL: Final = 0x7000
ENABLE: Final = 1 << 31
DONE: Final = 0x0003

ENTRIES: Final = 32
SIZE: Final = 32
_POSTED: Final = struct.Struct("<HHHHQQII")
_FLAGS: Final = 0x1200  # a buffer, a large one


def descriptor(page: int, size: int = PAGE) -> bytes:
    """Return a descriptor that posts a buffer, which begins with a page of the guest's memory."""
    iova = IOVA + page * PAGE
    return _POSTED.pack(_FLAGS, 0, size, 0, 0, 0, iova >> 32, iova & 0xFFFFFFFF)


class Receiver:
    """The queue of one device. Its ring is the first page of the guest's memory.

    Attributes:
        device: The function that has it.
        total: Buffers that were posted.
        taken: Descriptors that the driver has found done.
    """

    def __init__(
        self, device: Device, memory: LoggedMemory, traffic: Traffic, pages: int = PAGES
    ) -> None:
        self._limit = pages
        self.device = device
        self.memory = memory
        self.traffic = traffic
        self._bar: Region = device.region(0)
        self._config = Config(device)
        self._next = 0  # the next descriptor to post
        self._done = 0  # the next descriptor to be done
        self._pages = [0] * ENTRIES
        self.total = 0
        self.taken = 0

    def start(self) -> None:
        """Set the queue up, empty, and let the function access memory."""
        self._config.set_command(on=MASTER)
        for register, value in (
            (LENGTH, 0),
            (HEAD, 0),
            (TAIL, 0),
            (BASE, IOVA),
            (BASE_HIGH, IOVA >> 32),
            (LENGTH, ENABLE | ENTRIES),
        ):
            self._bar.write_int(register, value & 0xFFFFFFFF)

    def stop(self) -> None:
        """Switch it off."""
        self.traffic.set_rate(0)
        self._bar.write_int(LENGTH, 0)

    @property
    def room(self) -> int:
        """How many descriptors can be posted: one stays free."""
        return (self._done - self._next - 1) % ENTRIES

    def post(self, pages: list[int], size: int = PAGE) -> None:
        """Post the buffers in these pages of the guest's memory, by one write of the tail."""
        for page in pages:
            self.describe(0, self._next, page, size)
            self._pages[self._next] = page
            self._next = (self._next + 1) % ENTRIES
        self.total += len(pages)
        self.write_tail(self._next)

    def describe(self, ring: int, index: int, page: int, size: int = PAGE) -> None:
        """Write a descriptor, in whatever page that ring is, and leave the tail alone."""
        self.memory.write(ring * PAGE + index * SIZE, descriptor(page, size))

    def resize(self, entries: int) -> None:
        """Give the ring another number of descriptors while it is on."""
        self._bar.write_int(LENGTH, ENABLE | entries)

    def write_tail(self, index: int) -> None:
        """Post what is described before a descriptor, by write()."""
        self._bar.write_int(TAIL, index)

    def set_base(self, page: int) -> None:
        """Move the ring to a page, as it is."""
        self._bar.write_int(BASE, (IOVA + page * PAGE) & 0xFFFFFFFF)

    def restart(self) -> None:
        """Switch it off and on again, empty."""
        self.stop()
        self._next = self._done = 0
        self.start()

    @property
    def waiting(self) -> int:
        """How many buffers are posted and not known to be done."""
        return (self._next - self._done) % ENTRIES

    def take(self) -> list[tuple[int, int]]:
        """Return page and message number of each descriptor that was done since the last time."""
        found = []
        while self._done != self._next:
            flags, _, _, _, cookie, *_ = _POSTED.unpack(self.memory.read(self._done * SIZE, SIZE))
            if flags & DONE != DONE:
                break
            found.append((self._pages[self._done], cookie))
            self._done = (self._done + 1) % ENTRIES
        self.taken += len(found)
        return found

    def outstanding(self) -> set[int]:
        """Return the pages of buffers that are posted and not known to be done."""
        return {self._pages[(self._done + at) % ENTRIES] for at in range(self.waiting)}

    def refill(self, rng: random.Random, most: int = ENTRIES) -> None:
        """Post buffers in pages that are not in use, up to `most`, as far as there is room."""
        free = sorted(set(range(1, self._limit)) - self.outstanding())
        count = min(self.room, most, len(free))
        if count:
            self.post(rng.sample(free, count))

    def pages(self, first: int, end: int) -> set[int]:
        """Return the pages that the device wrote, by the numbers of its writes."""
        writes = (self.traffic.write_of(number) for number in range(first, end))
        return {write.page - IOVA // PAGE for write in writes}

    def move(self, device: Device, traffic: Traffic) -> None:
        """Go on with another function, which has the registers of the first one."""
        self.traffic.set_rate(0)
        self.traffic = traffic
        self.device = device
        self._bar = device.region(0)
        self._config = Config(device)
        self._config.set_command(on=MASTER)
