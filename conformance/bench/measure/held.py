# SPDX-License-Identifier: GPL-2.0-only
"""A number of live mappings of one page each."""

from collections.abc import Iterable, Sequence

from conformance.closing import Closing
from conformance.uapi import mman
from conformance.vfio.memory import libc
from conformance.vfio.memory.areas import Area
from conformance.vfio.memory.mapping import PAGE_SIZE
from conformance.vfio.region import Region


class Held(Closing):
    """Mappings of the pages of a device, which nothing touches. Raises :class:`OSError`.

    The kernel merges no two mappings of a device, so each is a vma of its own.

    Args:
        fd: The device.
        places: Offsets of pages in the device's file, taken in turn.
    """

    def __init__(self, fd: int, places: Sequence[int]) -> None:
        self._fd = fd
        self._places = places
        self._addresses: list[int] = []

    def close(self) -> None:
        """Unmap all of it."""
        self.resize(0)

    def resize(self, count: int) -> None:
        """Map or unmap until there are so many."""
        while len(self._addresses) < count:
            self._addresses.append(self._map(len(self._addresses)))
        while len(self._addresses) > count:
            libc.munmap(self._addresses.pop(), PAGE_SIZE)

    def map_and_unmap(self) -> None:
        """Map one more page and unmap it."""
        libc.munmap(self._map(0), PAGE_SIZE)

    def _map(self, number: int) -> int:
        place = self._places[number % len(self._places)]
        access = mman.PROT_READ | mman.PROT_WRITE
        return libc.mmap(0, PAGE_SIZE, access, mman.MAP_SHARED, self._fd, place)


def places(region: Region, areas: Iterable[Area]) -> list[int]:
    """Return the offset of each page of some areas of a region, in the device's file."""
    return [region.offset + page.offset for area in areas for page in area.pages(PAGE_SIZE)]
