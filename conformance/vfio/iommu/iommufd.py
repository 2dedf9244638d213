# SPDX-License-Identifier: GPL-2.0-only
"""An iommufd, and the address spaces in it: what a container is to devices opened by a group."""

import ctypes
import os
from pathlib import Path
from typing import Final

from conformance.closing import Closing
from conformance.uapi import iommufd as u
from conformance.uapi.ioctls import ioctl
from conformance.vfio import trace

#: There if the kernel has IOMMUFD.
PATH: Final = Path("/dev/iommu")


class Iommufd(Closing):
    """An open ``/dev/iommu``. Raises :class:`OSError` with the kernel's errno."""

    def __init__(self, path: Path = PATH) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Close it. Does nothing the second time.

        The kernel keeps what is in it while a device is bound to it.
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def allocate(self) -> "AddressSpace":
        """IOMMU_IOAS_ALLOC: make an address space with nothing mapped."""
        argument = u.iommu_ioas_alloc(size=ctypes.sizeof(u.iommu_ioas_alloc))
        with trace.call("IOMMU_IOAS_ALLOC") as done:
            ioctl(self.fd, u.IOMMU_IOAS_ALLOC, argument)
            done.result = f"id {argument.out_ioas_id}"
        return AddressSpace(self, argument.out_ioas_id)


class AddressSpace(Closing):
    """What devices attached to it see as memory. Maps as a container does."""

    def __init__(self, iommufd: Iommufd, number: int) -> None:
        self.iommufd = iommufd
        self.number = number

    def close(self) -> None:
        """IOMMU_DESTROY. Does nothing the second time; EBUSY while a device is attached."""
        if self.number >= 0:
            argument = u.iommu_destroy(size=ctypes.sizeof(u.iommu_destroy), id=self.number)
            with trace.call(f"IOMMU_DESTROY id {self.number}"):
                ioctl(self.iommufd.fd, u.IOMMU_DESTROY, argument)
            self.number = -1

    def map_dma(self, vaddr: int, iova: int, size: int, *, write: bool = True) -> None:
        """Let devices reach ``size`` bytes of memory at ``vaddr`` as ``iova``."""
        writable = u.IOMMU_IOAS_MAP_WRITEABLE if write else 0
        argument = u.iommu_ioas_map(
            size=ctypes.sizeof(u.iommu_ioas_map),
            flags=u.IOMMU_IOAS_MAP_FIXED_IOVA | u.IOMMU_IOAS_MAP_READABLE | writable,
            ioas_id=self.number,
            user_va=vaddr,
            length=size,
            iova=iova,
        )
        with trace.call(f"IOMMU_IOAS_MAP iova {iova:#x}+{size:#x}"):
            ioctl(self.iommufd.fd, u.IOMMU_IOAS_MAP, argument)

    def unmap_dma(self, iova: int, size: int) -> int:
        """Take a range from the devices and return how many bytes were mapped there."""
        argument = u.iommu_ioas_unmap(
            size=ctypes.sizeof(u.iommu_ioas_unmap), ioas_id=self.number, iova=iova, length=size
        )
        with trace.call(f"IOMMU_IOAS_UNMAP iova {iova:#x}+{size:#x}"):
            ioctl(self.iommufd.fd, u.IOMMU_IOAS_UNMAP, argument)
        return int(argument.length)
