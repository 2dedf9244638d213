# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of the VFIO ioctls and the one call that makes them."""

import ctypes
import fcntl
from typing import Final

_TYPE: Final = ord(";")
_BASE: Final = 100


def _io(number: int) -> int:
    """Return ``_IO(VFIO_TYPE, VFIO_BASE + number)``: VFIO encodes neither size nor direction."""
    return _TYPE << 8 | (_BASE + number)


# on /dev/vfio/vfio
VFIO_GET_API_VERSION: Final = _io(0)
VFIO_CHECK_EXTENSION: Final = _io(1)
VFIO_SET_IOMMU: Final = _io(2)
VFIO_IOMMU_GET_INFO: Final = _io(12)
VFIO_IOMMU_MAP_DMA: Final = _io(13)
VFIO_IOMMU_UNMAP_DMA: Final = _io(14)
VFIO_IOMMU_DIRTY_PAGES: Final = _io(17)
# on /dev/vfio/GROUP
VFIO_GROUP_GET_STATUS: Final = _io(3)
VFIO_GROUP_SET_CONTAINER: Final = _io(4)
VFIO_GROUP_UNSET_CONTAINER: Final = _io(5)
VFIO_GROUP_GET_DEVICE_FD: Final = _io(6)
# on a device
VFIO_DEVICE_GET_INFO: Final = _io(7)
VFIO_DEVICE_GET_REGION_INFO: Final = _io(8)
VFIO_DEVICE_GET_IRQ_INFO: Final = _io(9)
VFIO_DEVICE_SET_IRQS: Final = _io(10)
VFIO_DEVICE_RESET: Final = _io(11)
VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: Final = _io(12)
VFIO_DEVICE_PCI_HOT_RESET: Final = _io(13)
VFIO_DEVICE_IOEVENTFD: Final = _io(16)
VFIO_DEVICE_FEATURE: Final = _io(17)
# on a device opened by its own file, Linux 6.6
VFIO_DEVICE_BIND_IOMMUFD: Final = _io(18)
VFIO_DEVICE_ATTACH_IOMMUFD_PT: Final = _io(19)
VFIO_DEVICE_DETACH_IOMMUFD_PT: Final = _io(20)
# on the data_fd of a migration
VFIO_MIG_GET_PRECOPY_INFO: Final = _io(21)


def ioctl(fd: int, request: int, arg: int | ctypes.Structure | ctypes.Array[ctypes.c_char]) -> int:
    """Make one ioctl and return its result.

    ``arg`` is an integer passed by value, or a struct or buffer that the kernel reads and
    changes in place. Errors are raised as :class:`OSError` with the kernel's errno.
    """
    if isinstance(arg, int):
        return fcntl.ioctl(fd, request, arg)
    # A buffer is changed in place, and only its result comes back.
    result: int = fcntl.ioctl(fd, request, arg, True)
    return result
