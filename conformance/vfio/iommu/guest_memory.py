# SPDX-License-Identifier: GPL-2.0-only
"""Memory to which a device may write, as that of a virtual machine's guest."""

import ctypes
import mmap
from typing import Final, Protocol

from conformance.vfio.iommu.container import Container

PAGES: Final = 64
PAGE: Final = mmap.PAGESIZE
SIZE: Final = PAGES * PAGE

#: Where the device sees it: above 4 GiB, so that both halves of an address matter, and below what
#: the narrowest IOMMU translates.
IOVA: Final = 3 << 32


class Maps(Protocol):
    """Maps memory for devices: a container, or an address space of an iommufd."""

    def map_dma(self, vaddr: int, iova: int, size: int, *, write: bool = True) -> None:
        """Let devices reach ``size`` bytes of memory at ``vaddr`` as ``iova``."""

    def unmap_dma(self, iova: int, size: int) -> int:
        """Take a range from the devices and return how many bytes were mapped there."""


class GuestMemory:
    """Pages that are zero at first. A container must have a group.

    Args:
        maps: What maps it for the devices.
        pages: How many there are.

    Attributes:
        size: Bytes.
        touched: The pages that `write` has changed.
    """

    def __init__(self, maps: Maps, pages: int = PAGES) -> None:
        self._maps = maps
        self.size = pages * PAGE
        self.touched: set[int] = set()
        self._memory = mmap.mmap(-1, self.size)
        anchor = ctypes.c_char.from_buffer(self._memory)
        maps.map_dma(ctypes.addressof(anchor), IOVA, self.size)
        del anchor  # the memory could not be unmapped
        self._mapped = True

    def close(self) -> None:
        """Take it from the device."""
        if self._mapped:
            self.unmap()
        self._memory.close()

    def unmap(self) -> int:
        """Take it from the device, and return how many of its bytes were still mapped."""
        self._mapped = False
        return self._maps.unmap_dma(IOVA, self.size)

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of it."""
        return self._memory[offset : offset + size]

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes as the guest's processor does, inside a page."""
        self._memory[offset : offset + len(data)] = data
        self.touched.add(offset // PAGE)

    def page(self, number: int) -> bytes:
        """Return what a page holds."""
        return self._memory[number * PAGE : (number + 1) * PAGE]

    def contents(self) -> bytes:
        """Return what all pages hold."""
        return self._memory[:]

    def clear(self) -> None:
        """Make all pages zero again."""
        self._memory[:] = bytes(self.size)

    def written(self) -> set[int]:
        """Return the numbers of the pages that are not zero."""
        return {number for number in range(self.size // PAGE) if any(self.page(number))}


class LoggedMemory(GuestMemory):
    """The same, with a container that logs which pages devices write."""

    def __init__(self, container: Container, pages: int = PAGES) -> None:
        super().__init__(container, pages)
        self.container = container

    def dirty(self) -> set[int]:
        """Return the numbers of the pages that the kernel says are dirty, and have it forget."""
        return self.container.dirty_pages(IOVA, self.size)
