# SPDX-License-Identifier: GPL-2.0-only
"""An IOMMU group: the unit that user space owns, and from which devices are opened."""

import ctypes
import os
import struct

from conformance.closing import Closing
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import vfio_group_status
from conformance.vfio import trace
from conformance.vfio.errors import SysfsError
from conformance.vfio.iommu.container import Container


class Group(Closing):
    """An open ``/dev/vfio/NUMBER`` inside a container.

    The kernel lets a group be opened once at a time. Raises :class:`OSError` with the kernel's
    errno, :class:`SysfsError` if another driver holds a function of the group.
    """

    def __init__(self, number: str, container: Container, *, directory: str = "/dev/vfio") -> None:
        self.number = number
        self.container = container
        self.fd = os.open(f"{directory}/{number}", os.O_RDWR | os.O_CLOEXEC)
        try:
            if not self.status() & c.VFIO_GROUP_FLAGS_VIABLE:
                raise SysfsError(
                    f"IOMMU group {number} is not viable: some of its functions are bound to a "
                    "host driver; bind all of them to VFIO drivers, or to none"
                )
            fd_argument = ctypes.create_string_buffer(struct.pack("i", container.fd))
            with trace.call(f"VFIO_GROUP_SET_CONTAINER of group {number}"):
                ioctl(self.fd, ioctls.VFIO_GROUP_SET_CONTAINER, fd_argument)
            container.ensure_iommu()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it. Does nothing the second time."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def status(self) -> int:
        """Return the flags of VFIO_GROUP_GET_STATUS."""
        arg = vfio_group_status(argsz=ctypes.sizeof(vfio_group_status))
        ioctl(self.fd, ioctls.VFIO_GROUP_GET_STATUS, arg)
        return int(arg.flags)

    def device_fd(self, name: str) -> int:
        """Open a device of the group by its name (a BDF) and return the descriptor.

        The first open of a PCI function resets it; further ones share its state.
        """
        with trace.call(f"VFIO_GROUP_GET_DEVICE_FD {name}"):
            argument = ctypes.create_string_buffer(name.encode())
            fd = ioctl(self.fd, ioctls.VFIO_GROUP_GET_DEVICE_FD, argument)
        os.set_inheritable(fd, False)
        return fd
