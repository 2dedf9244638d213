# SPDX-License-Identifier: GPL-2.0-only
"""A device opened by its own file, /dev/vfio/devices/vfioN, without a group: Linux 6.6.

It is of no use until it is bound to an iommufd, and takes no second user: neither by its file nor
by its group, which must be closed.
"""

import ctypes
import os
from pathlib import Path
from typing import Final

from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import (
    vfio_device_attach_iommufd_pt,
    vfio_device_bind_iommufd,
    vfio_device_detach_iommufd_pt,
)
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.iommu import iommufd
from conformance.vfio.iommu.iommufd import AddressSpace, Iommufd
from conformance.vfio.system import sysfs

DIRECTORY: Final = Path("/dev/vfio/devices")


def lacking(bdf: str, *, sys: Path = sysfs.SYSFS, iommu: Path = iommufd.PATH) -> str:
    """Say why a device cannot be opened by a file of its own; empty if it can.

    Raises :class:`~conformance.vfio.errors.SysfsError` if there is no such device.
    """
    if not iommu.exists():
        return f"this kernel has no IOMMUFD: there is no {iommu}"
    numbers = sorted((sysfs.directory(bdf, sysfs=sys) / "vfio-dev").glob("vfio*"))
    if not any((number / "dev").exists() for number in numbers):
        return "this kernel gives VFIO devices no files of their own: it lacks VFIO_DEVICE_CDEV"
    return ""


def path(bdf: str, *, sys: Path = sysfs.SYSFS, directory: Path = DIRECTORY) -> Path:
    """Return the file of a device that does not lack it."""
    (number,) = (sysfs.directory(bdf, sysfs=sys) / "vfio-dev").glob("vfio*")
    return directory / number.name


class Cdev(Device):
    """A device opened by its own file. Raises :class:`OSError` with the kernel's errno."""

    def __init__(self, bdf: str, file: Path, *, prefix: str = "") -> None:
        self.bdf = bdf
        self.file = file
        self.prefix = prefix
        self._space: AddressSpace | None = None
        self.fd = self._open()

    def bind(self, to: Iommufd) -> int:
        """VFIO_DEVICE_BIND_IOMMUFD: become the device's user; return its id in the iommufd.

        The first open of a PCI function, which resets it, happens here.
        """
        argument = vfio_device_bind_iommufd(
            argsz=ctypes.sizeof(vfio_device_bind_iommufd), iommufd=to.fd
        )
        with trace.call(f"{self.prefix}VFIO_DEVICE_BIND_IOMMUFD") as done:
            ioctl(self.fd, ioctls.VFIO_DEVICE_BIND_IOMMUFD, argument)
            done.result = f"id {argument.out_devid}"
        return int(argument.out_devid)

    def attach(self, space: AddressSpace) -> None:
        """VFIO_DEVICE_ATTACH_IOMMUFD_PT: the device sees what is mapped in an address space."""
        argument = vfio_device_attach_iommufd_pt(
            argsz=ctypes.sizeof(vfio_device_attach_iommufd_pt), pt_id=space.number
        )
        with trace.call(f"{self.prefix}VFIO_DEVICE_ATTACH_IOMMUFD_PT id {space.number}"):
            ioctl(self.fd, ioctls.VFIO_DEVICE_ATTACH_IOMMUFD_PT, argument)
        self._space = space

    def detach(self) -> None:
        """VFIO_DEVICE_DETACH_IOMMUFD_PT: the device sees no memory any more."""
        argument = vfio_device_detach_iommufd_pt(argsz=ctypes.sizeof(vfio_device_detach_iommufd_pt))
        with trace.call(f"{self.prefix}VFIO_DEVICE_DETACH_IOMMUFD_PT"):
            ioctl(self.fd, ioctls.VFIO_DEVICE_DETACH_IOMMUFD_PT, argument)
        self._space = None

    def reopen(self) -> None:
        """Close and open again; bind and attach it where it was attached before."""
        space = self._space
        self.close()
        self.fd = self._open()
        self._forget()
        if space:
            self.bind(space.iommufd)
            self.attach(space)

    def open_again(self) -> "Cdev":
        """Open a second descriptor of the same device, which nothing can be bound to."""
        return Cdev(self.bdf, self.file, prefix=f"{self.prefix}second descriptor: ")

    def _open(self) -> int:
        with trace.call(f"{self.prefix}open {self.file}"):
            return os.open(self.file, os.O_RDWR | os.O_CLOEXEC)
