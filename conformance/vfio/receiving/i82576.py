# SPDX-License-Identifier: GPL-2.0-only
"""A guest's driver of the first receive queue of an 82576 virtual function, for real packets.

Before any arrives the physical function's driver must let them through: the function announces
itself by a RESET message and then says its MAC address, as its driver in a guest does. Registers,
messages and layout of a descriptor are those of the data sheet and of the Linux driver.
"""

import struct
import time
from typing import Final

from conformance.uapi.constants import VFIO_PCI_CONFIG_REGION_INDEX
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.errors import VfioError
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES, LoggedMemory
from conformance.vfio.receiving.packets import HEADER, Packets, address_of
from conformance.vfio.receiving.receiver import ENTRIES, Receiver
from conformance.vfio.region import Region
from conformance.vfio.system import sysfs

IDS: Final = 0x10CA8086
BASE: Final = 0x2800
BASE_HIGH: Final = 0x2804
LENGTH: Final = 0x2808
CONTROL: Final = 0x280C
HEAD: Final = 0x2810
CACHE_HINTS: Final = 0x2814
TAIL: Final = 0x2818
ENABLES: Final = 0x2828
ENABLE: Final = 1 << 25
DONE: Final = 1 << 0
MAILBOX: Final = 0xC40
MESSAGE: Final = 0x800

_ONE_BUFFER: Final = 1 << 25  # advanced descriptors, without header split
_DESCRIPTOR: Final = struct.Struct("<QII")
_REQUEST, _ACKNOWLEDGE, _TAKE, _SENT = 1 << 0, 1 << 1, 1 << 2, 1 << 4
_RESET, _SET_ADDRESS = 1, 2
_AGREED, _REFUSED = 1 << 31, 1 << 30
_PATIENCE: Final = 10.0  # seconds; the driver answers in milliseconds


class NoAnswer(VfioError):
    """The physical function's driver does not answer, or it refuses."""


def is_one(device: Device) -> bool:
    """Return whether a device is such a function."""
    if not sysfs.is_pci(device.bdf):
        return False
    with trace.quiet():
        return device.region(VFIO_PCI_CONFIG_REGION_INDEX).read_int(0) == IDS


class PacketReceiver(Receiver):
    """The first receive queue of one function.

    The device fills buffers in the order of the ring, and counts them: so it is known which page
    was written as its n-th. What is in the ring must not change while frames come, but for
    descriptors that are not posted.
    """

    SIZE = 16
    TAIL = TAIL
    NUMBER = HEADER

    def __init__(
        self, device: Device, memory: LoggedMemory, traffic: Packets, pages: int = PAGES
    ) -> None:
        super().__init__(device, memory, traffic, pages)
        self._rings: dict[int, dict[int, int]] = {}  # pages by ring and index
        self._begin(0)

    def _begin(self, head: int) -> None:
        """Know of no write; the next one is by a descriptor of the ring."""
        self._ring, self._entries, self._head = 0, ENTRIES, head
        self._written: list[int] = []  # pages, by the numbers of the writes from the origin
        self._origin = self.traffic.count()

    def _follow(self) -> None:
        """Go through the ring up to where the device is."""
        ring = self._rings.get(self._ring, {})
        for _ in range(self.traffic.count() - self._origin - len(self._written)):
            self._written.append(ring[self._head])
            self._head = self._head + 1 if self._head + 1 < self._entries else 0

    def _set_up(self) -> None:
        self.announce()
        self._begin(0)
        for register, value in (
            (ENABLES, 0),
            (BASE, IOVA),
            (BASE_HIGH, IOVA >> 32),
            (LENGTH, ENTRIES * self.SIZE),
            (CONTROL, control(PAGE)),
            (HEAD, 0),
            (TAIL, 0),  # one that is left from before counts as soon as the queue is enabled
            (ENABLES, ENABLE),
            (TAIL, 0),
        ):
            self._bar.write_int(register, value & 0xFFFFFFFF)

    def _switch_off(self, bar: Region) -> None:
        bar.write_int(ENABLES, 0)
        bar.write_int(LENGTH, 0)

    def post(self, pages: list[int], size: int = PAGE, offset: int = 0) -> None:
        """Post the buffers in these pages of the guest's memory, by one write of the tail.

        All buffers of a queue have one size: another one than a page is written to its register.
        """
        if size != PAGE:
            self._bar.write_int(CONTROL, control(size))
        self._follow()  # once: descriptors that are posted do not change meanwhile
        super().post(pages, size, offset)

    def describe(self, ring: int, index: int, page: int, size: int = PAGE) -> None:
        """Write a descriptor, in whatever page that ring is, and leave the tail alone."""
        self._follow()
        super().describe(ring, index, page, size)

    def _put(self, ring: int, index: int, page: int, size: int, offset: int = 0) -> None:
        self._rings.setdefault(ring, {})[index] = page
        super()._put(ring, index, page, size, offset)

    def ring(self, page: int, buffers: list[int]) -> bytes:
        """Return a ring whose descriptors post these buffers in turn, for the caller to write."""
        self._rings[page] = {index: buffers[index % len(buffers)] for index in range(ENTRIES)}
        return super().ring(page, buffers)

    def descriptor(self, page: int, size: int = PAGE, offset: int = 0) -> bytes:
        """Return a descriptor that posts a buffer, which begins in a page of the memory."""
        del size  # it is no part of it
        return _DESCRIPTOR.pack(IOVA + page * PAGE + offset, 0, 0)

    def resize(self, entries: int) -> None:
        """Give the ring another number of descriptors while it is on."""
        self._follow()
        self._entries = entries
        self._bar.write_int(LENGTH, entries * self.SIZE)

    def write_tail(self, index: int) -> None:
        """Post what is described before a descriptor, by write()."""
        self._bar.write_int(TAIL, index)

    def set_base(self, page: int) -> None:
        """Move the ring to a page, as it is. No frame may come meanwhile."""
        self._follow()
        self._ring = page
        self._bar.write_int(BASE, (IOVA + page * PAGE) & 0xFFFFFFFF)

    def set_head(self, index: int) -> None:
        """Have the device go on with a descriptor, such as one that it has done. It must stand."""
        self._follow()
        self._head = index
        self._bar.write_int(HEAD, index)

    def _is_done(self, descriptor: bytes) -> bool:
        status: int = _DESCRIPTOR.unpack(descriptor)[1]
        return bool(status & DONE)

    def pages(self, first: int, end: int) -> set[int]:
        """Return the pages that the device wrote, by the numbers of its writes."""
        self._follow()
        return set(self._written[first - self._origin : end - self._origin])

    def move(self, device: Device) -> None:
        """Go on with another function, which has the registers of the first one."""
        self._follow()
        super().move(device)
        self._begin(self._head)

    def announce(self) -> None:
        """Have the physical function let packets through, to an address of the function's own."""
        with trace.quiet():
            _tell(self._bar, [_RESET])
            address = address_of(self.device.bdf) + bytes(2)
            _tell(self._bar, [_SET_ADDRESS, *struct.unpack("<II", address)])
        trace.note(f"packets to {address[:6].hex(':')} reach the device")


def control(size: int) -> int:
    """Return the value of SRRCTL for buffers of a size in bytes, which it has in KiB."""
    return _ONE_BUFFER | -(-size // 1024)


def _tell(bar: Region, words: list[int]) -> None:
    """Send a message to the physical function, and wait until it has agreed.

    A RESET is refused, although it is done, while the function has no address.
    """
    end = time.monotonic() + _PATIENCE
    _take(bar, end)
    for number, word in enumerate(words):
        bar.write_int(MESSAGE + 4 * number, word)
    bar.write_int(MAILBOX, _REQUEST)
    while not _is_answered(bar, words[0]):
        if time.monotonic() > end:
            raise NoAnswer(
                f"the physical function does not answer message {words[0]} in {_PATIENCE:g} s; its "
                "driver must serve the mailbox, and its network interface be up"
            )
        time.sleep(0.001)
    answer = bar.read_int(MESSAGE)
    bar.write_int(MAILBOX, _ACKNOWLEDGE)
    if answer & _REFUSED and words[0] != _RESET:
        raise NoAnswer(
            f"the physical function refuses message {words[0]}: {answer:#x}; an address that the "
            "administrator has set is taken back by `ip link set PF vf N mac 00:00:00:00:00:00`"
        )


def _take(bar: Region, end: float) -> None:
    """Take the mailbox, which the physical function may just be writing to."""
    bar.write_int(MAILBOX, _TAKE)
    while not bar.read_int(MAILBOX) & _TAKE:
        if time.monotonic() > end:
            raise NoAnswer(f"the physical function keeps the mailbox for {_PATIENCE:g} s")
        time.sleep(0.001)
        bar.write_int(MAILBOX, _TAKE)


def _is_answered(bar: Region, message: int) -> bool:
    """Return whether the whole of an answer is there, which its first word does not tell.

    The bit is cleared by a read. What was sent with it may be no answer: the physical function
    sends words of its own, too.
    """
    if not bar.read_int(MAILBOX) & _SENT:
        return False
    found = bar.read_int(MESSAGE)
    return bool(found & (_AGREED | _REFUSED)) and found & 0xFFFF == message
