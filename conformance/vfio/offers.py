# SPDX-License-Identifier: GPL-2.0-only
"""What of migration a device offers to its user."""

from dataclasses import dataclass
from typing import Final

from conformance.uapi import constants as c
from conformance.vfio.device import Device

_FLAGS: Final = {
    c.VFIO_MIGRATION_STOP_COPY: "STOP_COPY",
    c.VFIO_MIGRATION_P2P: "P2P",
    c.VFIO_MIGRATION_PRE_COPY: "PRE_COPY",
}


@dataclass(frozen=True)
class Offer:
    """What a device offers: how many migration regions, the later protocol, the saving layout.

    ``later`` has the flags of VFIO_DEVICE_FEATURE_MIGRATION, None if that is not offered;
    ``saving_layouts`` counts regions with VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING.
    """

    migration_regions: int
    later: int | None
    saving_layouts: int

    @property
    def later_words(self) -> str:
        """The flags of the later protocol, ``STOP_COPY | P2P``; empty if it is not offered."""
        if self.later is None:
            return ""
        known = [word for flag, word in _FLAGS.items() if self.later & flag]
        rest = self.later & ~sum(_FLAGS)
        return " | ".join([*known, *([f"{rest:#x}"] if rest else [])]) or "no flags"

    @property
    def version_2(self) -> str:
        """What version 2 has and lacks, ``STOP_COPY, P2P, no PRE_COPY``; empty if not offered."""
        if self.later is None:
            return ""
        known = [word if self.later & flag else f"no {word}" for flag, word in _FLAGS.items()]
        rest = self.later & ~sum(_FLAGS)
        return ", ".join([*known, *([f"unknown flags {rest:#x}"] if rest else [])])

    def lacking(self, protocol: int = 0) -> str:
        """Say why a version of the protocol, 0 for any, cannot be judged; empty if it can."""
        offered = {1: bool(self.migration_regions), 2: self.later is not None}
        if offered.get(protocol, any(offered.values())):
            return ""
        if not any(offered.values()):
            return "it offers no migration: no migration region, no VFIO_DEVICE_FEATURE_MIGRATION"
        if protocol == 1:
            return (
                "it offers no migration region, which version 1 is, but version 2, "
                f"VFIO_DEVICE_FEATURE_MIGRATION ({self.later_words})"
            )
        return "it offers version 1, the migration region, but not version 2"


def look(device: Device) -> Offer:
    """Ask an open device. Raises :class:`OSError` with the kernel's errno."""
    kind = c.VFIO_REGION_TYPE_MIGRATION_DEPRECATED
    regions = device.find_regions(kind, c.VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED)
    saving = [region for region in device.regions if region.saving is not None]
    return Offer(len(regions), device.migration_feature(), len(saving))
