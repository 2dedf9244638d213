# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of a device as its user gets them: an eventfd for each vector."""

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from conformance.closing import Closing
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import vfio_irq_set
from conformance.vfio import trace
from conformance.vfio.device import Device

_EVENTFD: Final = c.VFIO_IRQ_SET_DATA_EVENTFD | c.VFIO_IRQ_SET_ACTION_TRIGGER
_NONE: Final = c.VFIO_IRQ_SET_DATA_NONE | c.VFIO_IRQ_SET_ACTION_TRIGGER


def set_up(device: Device, index: int, count: int) -> None:
    """Set an eventfd up for each of the first vectors of a kind, and take them back.

    Raises :class:`OSError` with the kernel's errno.
    """
    fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]
    try:
        with trace.call(f"VFIO_DEVICE_SET_IRQS index {index} 0+{count}, eventfds"):
            _set(device, index, _EVENTFD, count, struct.pack(f"{count}i", *fds))
        with trace.call(f"VFIO_DEVICE_SET_IRQS index {index}, none"):
            _set(device, index, _NONE, 0)
    finally:
        for fd in fds:
            os.close(fd)


@contextmanager
def only_eventfd(device: Device, index: int) -> Iterator[int]:
    """Provide an eventfd of the one interrupt of a kind.

    It is not taken back: the device may be closed in the meantime. Raises :class:`OSError`.
    """
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        with trace.call(f"VFIO_DEVICE_SET_IRQS index {index} 0+1, an eventfd"):
            _set(device, index, _EVENTFD, 1, struct.pack("i", fd))
        yield fd
    finally:
        os.close(fd)


def _set_msix(device: Device, flags: int, count: int, data: bytes = b"") -> None:
    _set(device, c.VFIO_PCI_MSIX_IRQ_INDEX, flags, count, data)


def _set(device: Device, index: int, flags: int, count: int, data: bytes = b"") -> None:
    head = vfio_irq_set(flags=flags, index=index, start=0, count=count)
    head.argsz = ctypes.sizeof(head) + len(data)
    ioctl(
        device.fd,
        ioctls.VFIO_DEVICE_SET_IRQS,
        ctypes.create_string_buffer(bytes(head) + data, head.argsz),
    )


class Vectors(Closing):
    """The first ``count`` MSI-X vectors, each with an eventfd of its own.

    Made for a block: they are disabled at its end. Raises :class:`OSError`.
    """

    def __init__(self, device: Device, count: int) -> None:
        self.device = device
        self.count = count
        self._fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]
        try:
            self.enable()
        except BaseException:
            self._close()
            raise

    def close(self) -> None:
        """Disable MSI-X and close the eventfds."""
        try:
            with trace.quiet():
                self.disable()
        finally:
            self._close()

    def disable(self) -> None:
        """Disable MSI-X; the eventfds remain for when it is enabled again."""
        with trace.call("VFIO_DEVICE_SET_IRQS MSI-X, none"):
            _set_msix(self.device, _NONE, 0)

    def enable(self) -> None:
        """Enable MSI-X with all eventfds, which a new open of the device has undone."""
        data = struct.pack(f"{self.count}i", *self._fds)
        with trace.call(f"VFIO_DEVICE_SET_IRQS MSI-X 0+{self.count}, eventfds"):
            _set_msix(self.device, _EVENTFD, self.count, data)

    def wait(self, vector: int, seconds: float) -> bool:
        """Wait for an interrupt of a vector and take it; return whether one came in that time."""
        ready, _, _ = select.select([self._fds[vector]], [], [], seconds)
        return bool(ready) and self.take(vector) > 0

    def take(self, vector: int) -> int:
        """Return how many interrupts of a vector have come since it was asked before."""
        try:
            return os.eventfd_read(self._fds[vector])
        except BlockingIOError:
            return 0

    def take_all(self) -> list[int]:
        """Return the vectors of which interrupts have come since they were asked before."""
        return [vector for vector in range(self.count) if self.take(vector)]

    def _close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []
