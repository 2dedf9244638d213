# SPDX-License-Identifier: GPL-2.0-only
"""How often the registers of a device were accessed, as the device itself counted.

No hardware reports that. The lab's i40e functions do, by a vendor-specific capability in config
space: select a register there, and its counts can be read without an access to a BAR.
"""

from dataclasses import dataclass
from typing import Final

from conformance.uapi.constants import VFIO_PCI_CONFIG_REGION_INDEX
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.region import Region

SIGNATURE: Final = b"\x01VKIT"  # version of the layout and whose it is
_STATUS: Final = 0x06
_HAS_CAPABILITIES: Final = 0x10
_CAPABILITIES: Final = 0x34
_VENDOR_SPECIFIC: Final = 0x09
_SELECT: Final = 8
_COUNTS: Final = 12


@dataclass(frozen=True)
class Counts:
    """Accesses that touched one 32-bit register since the device was made.

    Attributes:
        reads: Read accesses.
        writes: Write accesses.
        value: The register's value, which was not counted as a read.
    """

    reads: int
    writes: int
    value: int


def capability(device: Device, signature: bytes) -> tuple[Region, int] | None:
    """Return config space and where in it the capability with a signature is; None without it."""
    with trace.quiet():
        config = device.known(VFIO_PCI_CONFIG_REGION_INDEX)
        at = _find(config, signature)
    return None if at is None else (config, at)


def _find(config: Region, signature: bytes) -> int | None:
    if not config.read_int(_STATUS, 2) & _HAS_CAPABILITIES:
        return None
    at = config.read_int(_CAPABILITIES, 1)
    for _ in range(48):  # as many as there is room for: a broken list has no end
        if not at:
            break
        head = config.read_exact(at, 2)
        if head[0] == _VENDOR_SPECIFIC and config.read_exact(at + 3, 5) == signature:
            return at
        at = head[1]
    return None


class AccessCounters:
    """The capability of one device."""

    def __init__(self, config: Region, at: int) -> None:
        self._config = config
        self._at = at

    @classmethod
    def of(cls, device: Device) -> "AccessCounters | None":
        """Find the capability; None if the device does not count."""
        found = capability(device, SIGNATURE)
        return cls(*found) if found else None

    def read(self, region: Region, offset: int) -> Counts:
        """Return the counts of a register of a BAR."""
        with trace.quiet():
            self._config.write_int(self._at + _SELECT, region.index << 28 | offset)
            words = [self._config.read_int(self._at + _COUNTS + 4 * n) for n in range(3)]
        counts = Counts(*words)
        trace.note(f"the device counted {counts.reads} reads, {counts.writes} writes")
        return counts
