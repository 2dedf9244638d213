# SPDX-License-Identifier: GPL-2.0-only
"""Where a function's MSI-X table is: VFIO hides it from read(), whoever drives the function.

Offsets are those of the PCI specification.
"""

from conformance.uapi import constants as c
from conformance.vfio.device import Device
from conformance.vfio.memory.areas import Area
from conformance.vfio.region import Region

_STATUS, _CAPABILITIES = 0x06, 0x34
_HAS_CAPABILITIES = 0x10
_MSIX = 0x11
_ENTRY = 16  # bytes
_SIZE = 256


def table(config: bytes) -> tuple[int, Area] | None:
    """Return the BAR and the place of the MSI-X table, None if the function has none.

    Args:
        config: The first 256 bytes of its configuration space.
    """
    at = config[_CAPABILITIES] & ~3 if config[_STATUS] & _HAS_CAPABILITIES else 0
    for _ in range(_SIZE // 4):  # a list that never ends is not followed for ever
        if not at:
            return None
        if config[at] == _MSIX:
            entries = (int.from_bytes(config[at + 2 : at + 4], "little") & 0x7FF) + 1
            where = int.from_bytes(config[at + 4 : at + 8], "little")
            return where & 7, Area(where & ~7, entries * _ENTRY)
        at = config[at + 1] & ~3
    return None


def table_of(device: Device) -> tuple[int, Area] | None:
    """Return the BAR and the place of a device's MSI-X table. Raises :class:`OSError`."""
    return table(device.region(c.VFIO_PCI_CONFIG_REGION_INDEX).read(0, _SIZE))


def hidden_bytes(device: Device, region: Region) -> range:
    """Return the bytes of a region that VFIO itself hides: the MSI-X table."""
    bar, area = table_of(device) or (-1, Area(0, 0))
    return range(area.offset, area.end) if bar == region.index else range(0)
