# SPDX-License-Identifier: GPL-2.0-only
"""The container: an IOMMU context of type 1 version 2, to which groups are added."""

import ctypes
import os
from mmap import PAGESIZE

from conformance.closing import Closing
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import (
    vfio_iommu_type1_dirty_bitmap,
    vfio_iommu_type1_dirty_bitmap_get,
    vfio_iommu_type1_dma_map,
    vfio_iommu_type1_dma_unmap,
    vfio_iommu_type1_info,
)
from conformance.vfio import trace


class Container(Closing):
    """An open ``/dev/vfio/vfio``. Raises :class:`OSError` with the kernel's errno."""

    def __init__(self, path: str = "/dev/vfio/vfio") -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._iommu = False

    def close(self) -> None:
        """Close it; the kernel undoes all DMA mappings. Does nothing the second time."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def api_version(self) -> int:
        """Version of the whole API: 0."""
        return ioctl(self.fd, ioctls.VFIO_GET_API_VERSION, 0)

    def has_extension(self, extension: int) -> bool:
        """Return whether the kernel offers an extension, for example ``VFIO_TYPE1v2_IOMMU``."""
        return ioctl(self.fd, ioctls.VFIO_CHECK_EXTENSION, extension) > 0

    def ensure_iommu(self, kind: int = c.VFIO_TYPE1v2_IOMMU) -> None:
        """Set the IOMMU once the first group is in; later calls do nothing."""
        if not self._iommu:
            with trace.call(f"VFIO_SET_IOMMU {kind}"):
                ioctl(self.fd, ioctls.VFIO_SET_IOMMU, kind)
            self._iommu = True

    def iommu_info(self) -> vfio_iommu_type1_info:
        """Return what VFIO_IOMMU_GET_INFO says, without its capabilities."""
        info = vfio_iommu_type1_info(argsz=ctypes.sizeof(vfio_iommu_type1_info))
        ioctl(self.fd, ioctls.VFIO_IOMMU_GET_INFO, info)
        return info

    def map_dma(self, vaddr: int, iova: int, size: int, *, write: bool = True) -> None:
        """Let devices reach ``size`` bytes of memory at ``vaddr`` as ``iova``."""
        flags = c.VFIO_DMA_MAP_FLAG_READ | (c.VFIO_DMA_MAP_FLAG_WRITE if write else 0)
        arg = vfio_iommu_type1_dma_map(
            argsz=ctypes.sizeof(vfio_iommu_type1_dma_map),
            flags=flags,
            vaddr=vaddr,
            iova=iova,
            size=size,
        )
        with trace.call(f"VFIO_IOMMU_MAP_DMA iova {iova:#x}+{size:#x}"):
            ioctl(self.fd, ioctls.VFIO_IOMMU_MAP_DMA, arg)

    def unmap_dma(self, iova: int, size: int) -> int:
        """Take a range from the devices and return how many bytes were mapped there."""
        arg = vfio_iommu_type1_dma_unmap(
            argsz=ctypes.sizeof(vfio_iommu_type1_dma_unmap), iova=iova, size=size
        )
        with trace.call(f"VFIO_IOMMU_UNMAP_DMA iova {iova:#x}+{size:#x}"):
            ioctl(self.fd, ioctls.VFIO_IOMMU_UNMAP_DMA, arg)
        return int(arg.size)

    def start_dirty_log(self) -> None:
        """Have the kernel note which pages the devices write."""
        with trace.call("VFIO_IOMMU_DIRTY_PAGES START"):
            self._dirty_pages(c.VFIO_IOMMU_DIRTY_PAGES_FLAG_START)

    def stop_dirty_log(self) -> None:
        """End it; the kernel forgets what was noted."""
        with trace.call("VFIO_IOMMU_DIRTY_PAGES STOP"):
            self._dirty_pages(c.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)

    def dirty_pages(self, iova: int, size: int) -> set[int]:
        """Return the numbers of the dirty pages of a range that was mapped as a whole.

        The kernel forgets them: each is reported once, however often it was written.
        """
        count = size // PAGESIZE
        bits = bytearray(-(-count // 64) * 8)  # whole words
        view = (ctypes.c_char * len(bits)).from_buffer(bits)
        with trace.call(f"VFIO_IOMMU_DIRTY_PAGES GET_BITMAP iova {iova:#x}+{size:#x}") as done:
            self.write_bitmap(iova, size, ctypes.addressof(view), len(bits))
            found = int.from_bytes(bits, "little")
            pages = {number for number in range(count) if found >> number & 1}
            done.result = f"pages {sorted(pages)}"
        return pages

    def write_bitmap(self, iova: int, size: int, address: int, room: int) -> None:
        """Have the kernel write the bitmap of such a range, of ``room`` bytes, to an address.

        It pins and maps nothing meanwhile.
        """
        get = vfio_iommu_type1_dirty_bitmap_get(iova=iova, size=size)
        get.bitmap.pgsize, get.bitmap.size, get.bitmap.data = PAGESIZE, room, address
        self._dirty_pages(c.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, bytes(get))

    def _dirty_pages(self, flags: int, rest: bytes = b"") -> None:
        head = vfio_iommu_type1_dirty_bitmap(flags=flags)
        head.argsz = ctypes.sizeof(head) + len(rest)
        ioctl(
            self.fd,
            ioctls.VFIO_IOMMU_DIRTY_PAGES,
            ctypes.create_string_buffer(bytes(head) + rest, head.argsz),
        )
