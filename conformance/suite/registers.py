# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a device as read() shows them."""

from conformance.vfio.device import Device

#: BARs larger than this are memory, or have too many registers to be read for a look.
MOST = 1 << 20
WIDTH = 4

Picture = dict[str, bytes]


def registers_of(device: Device) -> Picture:
    """Read every BAR that is not too large, and return the bytes by the BAR's name."""
    return {
        region.name: region.read(0, region.size)
        for region in device.regions
        if region.index <= 5 and region.readable and region.size <= MOST
    }


def moved_between(before: Picture, after: Picture) -> list[str]:
    """Return the registers whose values differ, as ``BAR0+0x1048``."""
    return [
        f"{name}+{at:#x}"
        for name, data in before.items()
        for at in range(0, len(data), WIDTH)
        if data[at : at + WIDTH] != after[name][at : at + WIDTH]
    ]
