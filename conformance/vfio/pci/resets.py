# SPDX-License-Identifier: GPL-2.0-only
"""All ways in which a function can be reset while its user has it open.

``VFIO_DEVICE_RESET`` is a method of the device; the others are here. Each raises :class:`OSError`
with the kernel's errno.
"""

import ctypes
import errno
import struct

from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import (
    vfio_pci_dependent_device,
    vfio_pci_hot_reset,
    vfio_pci_hot_reset_info,
)
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.pci.config import Config
from conformance.vfio.system import sysfs

_HEAD = ctypes.sizeof(vfio_pci_hot_reset_info)
_ENTRY = ctypes.sizeof(vfio_pci_dependent_device)


def by_ioctl(device: Device) -> None:
    """VFIO_DEVICE_RESET."""
    device.reset()


def by_config(device: Device) -> None:
    """Write the bit of a function-level reset into config space, as a guest's driver does."""
    with trace.call(f"{device.prefix}function-level reset by config space"):
        Config(device).reset_function()


def by_bus(device: Device) -> None:
    """VFIO_DEVICE_PCI_HOT_RESET with the device's own group."""
    fds = struct.pack("i", device.group.fd)
    head = vfio_pci_hot_reset(argsz=ctypes.sizeof(vfio_pci_hot_reset) + len(fds), count=1)
    with trace.call(f"{device.prefix}VFIO_DEVICE_PCI_HOT_RESET"):
        ioctl(
            device.fd,
            ioctls.VFIO_DEVICE_PCI_HOT_RESET,
            ctypes.create_string_buffer(bytes(head) + fds, head.argsz),
        )


def by_sysfs(device: Device) -> None:
    """Write to the file ``reset`` in sysfs, as an administrator may at any time."""
    with trace.call(f"{device.prefix}write 1 to the file reset in sysfs"):
        (sysfs.directory(device.bdf) / "reset").write_text("1")


WAYS = {
    "ioctl": by_ioctl,
    "config-space": by_config,
    "hot-reset": by_bus,
    "sysfs": by_sysfs,
}
"""The ways by name."""


def lacking(device: Device, way: str) -> str:
    """Say why a device cannot be reset in one of the ways; empty if it can.

    Whether a bus can be reset shows only when it is: the device is reset by that.
    """
    if way == "ioctl":
        return ""
    if not sysfs.is_pci(device.bdf):
        return "this is not a PCI function"
    if way == "config-space":
        offered = Config(device).can_reset
        return "" if offered else "the function offers no function-level reset"
    if way == "sysfs":
        there = (sysfs.directory(device.bdf) / "reset").exists()
        return "" if there else "the kernel has no file `reset` for the function"
    return _hot_reset_lacking(device)


def _hot_reset_lacking(device: Device) -> str:
    try:
        others = [group for group in _affected(device) if str(group) != device.group.number]
    except OSError as error:
        return f"VFIO_DEVICE_GET_PCI_HOT_RESET_INFO is {errno.errorcode.get(error.errno or 0)}"
    if others:
        return f"a hot reset would reset IOMMU groups {others} as well"
    try:
        with trace.quiet():
            by_bus(device)
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
        return "the kernel cannot reset the bus or slot of the function: ENOTTY"
    return ""


def _affected(device: Device) -> list[int]:
    """Return the groups of all functions that a hot reset of the device would reset."""
    count = 0
    for _ in range(3):
        size = _HEAD + count * _ENTRY
        buffer = ctypes.create_string_buffer(size)
        head = vfio_pci_hot_reset_info(argsz=size)
        ctypes.memmove(buffer, ctypes.byref(head), _HEAD)
        try:
            with trace.quiet():
                ioctl(device.fd, ioctls.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, buffer)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        answer = vfio_pci_hot_reset_info.from_buffer_copy(buffer)
        if answer.count <= count:
            break
        count = answer.count
    entries = (
        vfio_pci_dependent_device.from_buffer_copy(buffer, _HEAD + number * _ENTRY)
        for number in range(answer.count)
    )
    return sorted({int(entry.group_id) for entry in entries})
