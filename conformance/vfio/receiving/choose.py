# SPDX-License-Identifier: GPL-2.0-only
"""Which driver of a receive queue a device needs, by what the device shows."""

from conformance.vfio.device import Device
from conformance.vfio.errors import VfioError
from conformance.vfio.iommu.guest_memory import LoggedMemory
from conformance.vfio.labdevice.traffic import LabTraffic
from conformance.vfio.receiving import i82576, packets
from conformance.vfio.receiving.i82576 import PacketReceiver
from conformance.vfio.receiving.packets import Packets
from conformance.vfio.receiving.receiver import Receiver
from conformance.vfio.receiving.traffic import Traffic
from conformance.vfio.receiving.xl710 import AdminReceiver


class NoTraffic(VfioError):
    """Nothing makes a device receive."""


def traffic_of(device: Device, interface: str | None) -> Traffic:
    """Return what makes a device receive: itself or, if it takes them, frames from an interface.

    Raises:
        NoTraffic: Neither can.
    """
    model = LabTraffic.of(device)
    if model:
        return model
    if not interface or not i82576.is_one(device):
        raise NoTraffic(
            "nothing is known that makes this device receive: give --vfio-packets, if it is a "
            "virtual function of an 82576"
        )
    if not packets.can_be_sent():
        raise NoTraffic("this kernel has no packet sockets (CONFIG_PACKET), which send frames")
    return Packets(device, interface)


def receiver_of(device: Device, memory: LoggedMemory, traffic: Traffic, pages: int) -> Receiver:
    """Return the driver of a queue that `traffic` fills, for buffers in that many pages."""
    if isinstance(traffic, LabTraffic):
        return AdminReceiver(device, memory, traffic, pages)
    assert isinstance(traffic, Packets)
    return PacketReceiver(device, memory, traffic, pages)
