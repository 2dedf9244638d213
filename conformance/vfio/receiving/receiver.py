# SPDX-License-Identifier: GPL-2.0-only
"""What the drivers of all receive queues have in common.

A queue is set up by registers and posts buffers by its tail, all by read() and write(), as a
virtual machine monitor passes on what its guest does.
"""

import random
from abc import ABC, abstractmethod
from typing import Final

from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import PAGE, PAGES, LoggedMemory
from conformance.vfio.pci.config import MASTER, Config
from conformance.vfio.receiving.traffic import Traffic
from conformance.vfio.region import Region

ENTRIES: Final = 32


class Receiver(ABC):
    """The queue of one device. Its ring is the first page of the guest's memory.

    Args:
        device: The function that has it.
        memory: Where ring and buffers are.
        traffic: What fills the buffers.
        pages: Only those before it are posted by `refill`.

    Attributes:
        total: Buffers that were posted.
        taken: Descriptors that the driver has found done.
        messages: Numbers of the messages that they brought, in this order, by function.
    """

    #: Bytes of a descriptor.
    SIZE: int
    #: Offset of the tail's register.
    TAIL: int
    #: Where a buffer has the number of the message (u64) that filled it.
    NUMBER: int

    def __init__(
        self, device: Device, memory: LoggedMemory, traffic: Traffic, pages: int = PAGES
    ) -> None:
        self._limit = pages
        self.device = device
        self.memory = memory
        self.traffic = traffic
        self._bar: Region = device.region(0)
        self._left: list[Region] = []  # of functions that had the queue before
        self._config = Config(device)
        self._next = 0  # the next descriptor to post
        self._done = 0  # the next descriptor to be done
        self._pages = [0] * ENTRIES
        self.total = 0
        self.taken = 0
        self.messages: dict[str, list[int]] = {}

    def start(self) -> None:
        """Set the queue up, empty, and let the function access memory."""
        self._config.set_command(on=MASTER)
        self._set_up()

    @abstractmethod
    def _set_up(self) -> None:
        """Write the registers of an empty queue."""

    def stop(self) -> None:
        """Switch it off, and leave no ring in its registers; so in functions that had it before.

        Not every reset changes them, and other tests set queues going as they are.
        """
        self.traffic.set_rate(0)
        for bar in (*self._left, self._bar):
            self._switch_off(bar)

    @abstractmethod
    def _switch_off(self, bar: Region) -> None:
        """Clear the enable bit and the length of the ring."""

    @property
    def room(self) -> int:
        """How many descriptors can be posted: one stays free."""
        return (self._done - self._next - 1) % ENTRIES

    def post(self, pages: list[int], size: int = PAGE, offset: int = 0) -> None:
        """Post the buffers in these pages of the guest's memory, by one write of the tail.

        Args:
            pages: Where they begin.
            size: Bytes of each.
            offset: Where in its page each begins.
        """
        for page in pages:
            self._put(0, self._next, page, size, offset)
            self._pages[self._next] = page
            self._next = (self._next + 1) % ENTRIES
        self.total += len(pages)
        self.write_tail(self._next)

    def describe(self, ring: int, index: int, page: int, size: int = PAGE) -> None:
        """Write a descriptor, in whatever page that ring is, and leave the tail alone."""
        self._put(ring, index, page, size)

    def _put(self, ring: int, index: int, page: int, size: int, offset: int = 0) -> None:
        descriptor = self.descriptor(page, size, offset)
        self.memory.write(ring * PAGE + index * self.SIZE, descriptor)

    def ring(self, page: int, buffers: list[int]) -> bytes:
        """Return a ring whose descriptors post these buffers in turn, for the caller to write.

        Args:
            page: Where the caller writes it, before the queue moves there.
            buffers: Pages.
        """
        del page  # for drivers that keep in mind what their rings hold
        return b"".join(self.descriptor(buffers[index % len(buffers)]) for index in range(ENTRIES))

    @abstractmethod
    def descriptor(self, page: int, size: int = PAGE, offset: int = 0) -> bytes:
        """Return a descriptor that posts a buffer, which begins in a page of the memory."""

    @abstractmethod
    def resize(self, entries: int) -> None:
        """Give the ring another number of descriptors while it is on."""

    @abstractmethod
    def write_tail(self, index: int) -> None:
        """Post what is described before a descriptor, by write()."""

    @abstractmethod
    def set_base(self, page: int) -> None:
        """Move the ring to a page, as it is."""

    @abstractmethod
    def set_head(self, index: int) -> None:
        """Have the device go on with a descriptor, such as one that it has done. It must stand."""

    def restart(self) -> None:
        """Switch it off and on again, empty."""
        self.stop()
        self._next = self._done = 0
        self.start()

    @property
    def waiting(self) -> int:
        """How many buffers are posted and not known to be done."""
        return (self._next - self._done) % ENTRIES

    def take(self) -> list[int]:
        """Return the page of each descriptor that was done since the last time."""
        found = []
        while self._done != self._next:
            if not self._is_done(self.memory.read(self._done * self.SIZE, self.SIZE)):
                break
            found.append(self._pages[self._done])
            self._note(self._pages[self._done])
            self._done = (self._done + 1) % ENTRIES
        self.taken += len(found)
        return found

    def _note(self, page: int) -> None:
        number = self.memory.read(page * PAGE + self.NUMBER, 8)
        self.messages.setdefault(self.device.bdf, []).append(int.from_bytes(number, "little"))

    @abstractmethod
    def _is_done(self, descriptor: bytes) -> bool:
        """Return whether the device has filled the buffer of a descriptor."""

    def outstanding(self) -> set[int]:
        """Return the pages of buffers that are posted and not known to be done."""
        return {self._pages[(self._done + at) % ENTRIES] for at in range(self.waiting)}

    def refill(self, rng: random.Random, most: int = ENTRIES) -> None:
        """Post buffers in pages that are not in use, up to `most`, as far as there is room."""
        free = sorted(set(range(1, self._limit)) - self.outstanding())
        count = min(self.room, most, len(free))
        if count:
            self.post(rng.sample(free, count))

    @abstractmethod
    def pages(self, first: int, end: int) -> set[int]:
        """Return the pages that the device wrote, by the numbers of its writes."""

    def move(self, device: Device) -> None:
        """Go on with another function, which has the registers of the first one."""
        self.traffic.set_rate(0)
        self.take()
        self.traffic = self.traffic.there(device)
        self.device = device
        self._left.append(self._bar)
        self._bar = device.region(0)
        self._config = Config(device)
        self._config.set_command(on=MASTER)

    @abstractmethod
    def announce(self) -> None:
        """Tell the physical function that the device receives, where it must know."""
