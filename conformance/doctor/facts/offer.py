# SPDX-License-Identifier: GPL-2.0-only
"""What the driver of a function offers, which only opening the device shows.

Opening resets the function. So it is done only where its user asks for it, a VFIO driver has the
function, and nobody uses it or its group.
"""

from dataclasses import dataclass

from conformance.doctor.facts.function import Function
from conformance.vfio import offers
from conformance.vfio.device import Device
from conformance.vfio.errors import VfioError
from conformance.vfio.iommu.container import Container
from conformance.vfio.offers import Offer


@dataclass(frozen=True)
class Opened:
    """What came of opening a device.

    Attributes:
        offer: What its driver offers; None if it could not be opened.
        error: Why not, in the kernel's words.
        errno: The kernel's error number; 0 if it was not the kernel that refused.
    """

    offer: Offer | None = None
    error: str = ""
    errno: int = 0


def refused(function: Function) -> str:
    """Say why a device shall not be opened; empty if it may be."""
    if not function.vfio:
        return "no VFIO driver has it"
    if function.group is None or function.group_name == "vfio-noiommu":
        return "it has no IOMMU group"
    if function.holders:
        return "somebody uses it"
    if function.locked:
        return "this user may not"
    if not all(member.harmless for member in function.members):
        return "its group is not user space's alone"
    return ""


def look(function: Function) -> Opened:
    """Open a device, ask it, and close it again. Resets it."""
    try:
        with Container() as container:
            device = Device.open(function.bdf, container)
            with device.group, device:
                return Opened(offers.look(device))
    except VfioError as error:
        return Opened(error=str(error))
    except OSError as error:
        return Opened(error=error.strerror or str(error), errno=error.errno or 0)
