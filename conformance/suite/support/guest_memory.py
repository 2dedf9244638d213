# SPDX-License-Identifier: GPL-2.0-only
"""Memory to which a device may write, as that of a virtual machine's guest."""

import ctypes
import mmap
from typing import Final

from conformance.vfio.container import Container

PAGES: Final = 64
PAGE: Final = mmap.PAGESIZE
SIZE: Final = PAGES * PAGE

#: Where the device sees it: above 4 GiB, so that both halves of an address matter, and below what
#: the narrowest IOMMU translates.
IOVA: Final = 3 << 32


class GuestMemory:
    """Pages that are zero at first. The container must have a group."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._memory = mmap.mmap(-1, SIZE)
        anchor = ctypes.c_char.from_buffer(self._memory)
        container.map_dma(ctypes.addressof(anchor), IOVA, SIZE)
        del anchor  # the memory could not be unmapped

    def close(self) -> None:
        """Take it from the device."""
        self.container.unmap_dma(IOVA, SIZE)
        self._memory.close()

    def page(self, number: int) -> bytes:
        """Return what a page holds."""
        return self._memory[number * PAGE : (number + 1) * PAGE]

    def contents(self) -> bytes:
        """Return what all pages hold."""
        return self._memory[:]

    def clear(self) -> None:
        """Make all pages zero again."""
        self._memory[:] = bytes(SIZE)

    def written(self) -> set[int]:
        """Return the numbers of the pages that are not zero."""
        return {number for number in range(PAGES) if any(self.page(number))}

    def dirty(self) -> set[int]:
        """Return the numbers of the pages that the kernel says are dirty, and have it forget."""
        return self.container.dirty_pages(IOVA, SIZE)
