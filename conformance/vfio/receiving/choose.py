# SPDX-License-Identifier: GPL-2.0-only
"""Which driver of a receive queue a device needs, by what the device shows."""

from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import LoggedMemory
from conformance.vfio.labdevice.traffic import LabTraffic
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.i82576 import PacketReceiver
from conformance.vfio.receiving.packets import Packets
from conformance.vfio.receiving.receiver import Receiver
from conformance.vfio.receiving.traffic import Traffic
from conformance.vfio.receiving.xl710 import AdminReceiver


def traffic_of(device: Device, interface: str | None) -> Traffic | None:
    """Return what makes a device receive: itself or, if it takes them, frames from an interface."""
    model = LabTraffic.of(device)
    if model:
        return model
    return Packets(device, interface) if interface and i82576.is_one(device) else None


def receiver_of(device: Device, memory: LoggedMemory, traffic: Traffic, pages: int) -> Receiver:
    """Return the driver of a queue that `traffic` fills, for buffers in that many pages."""
    if isinstance(traffic, LabTraffic):
        return AdminReceiver(device, memory, traffic, pages)
    assert isinstance(traffic, Packets)
    return PacketReceiver(device, memory, traffic, pages)
