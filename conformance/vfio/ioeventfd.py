# SPDX-License-Identifier: GPL-2.0-only
"""A register that the kernel writes when an eventfd is signalled."""

import ctypes
import os
from typing import Final

from conformance.closing import Closing
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import vfio_device_ioeventfd
from conformance.vfio import trace
from conformance.vfio.region import Region

_NONE: Final = -1


class IoEventfd(Closing):
    """An eventfd whose signal writes a value to a 32-bit register.

    Made for a block: it is taken back at its end. Raises :class:`OSError`, ENOTTY from a driver
    that offers none.
    """

    def __init__(self, region: Region, offset: int, value: int) -> None:
        self._region = region
        self._offset = offset
        self._value = value
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._assign(self._fd)
        except BaseException:
            os.close(self._fd)
            raise

    def signal(self) -> None:
        """Signal the eventfd; the kernel writes soon, not at once."""
        with trace.call(f"signal the eventfd of {self._region.name}+{self._offset:#x}"):
            os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Take it back."""
        if self._fd == _NONE:
            return
        try:
            self._assign(_NONE)
        finally:
            os.close(self._fd)
            self._fd = _NONE

    def _assign(self, fd: int) -> None:
        arg = vfio_device_ioeventfd(
            argsz=ctypes.sizeof(vfio_device_ioeventfd),
            flags=c.VFIO_DEVICE_IOEVENTFD_32,
            offset=self._region.info.offset + self._offset,
            data=self._value,
            fd=fd,
        )
        what = f"{self._region.name}+{self._offset:#x} = {self._value:#x}, fd {fd}"
        with trace.call(f"VFIO_DEVICE_IOEVENTFD {what}"):
            ioctl(self._region.device.fd, ioctls.VFIO_DEVICE_IOEVENTFD, arg)
