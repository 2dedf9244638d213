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

    def lacking(self) -> str:
        """Say why version 1 of the protocol cannot be judged; empty if it can."""
        if self.migration_regions:
            return ""
        if self.later is None:
            return "it offers no migration at all: no migration region"
        return (
            "it offers no migration region but the later protocol, VFIO_DEVICE_FEATURE_MIGRATION "
            f"({self.later_words}), of which the rules here say nothing"
        )


def look(device: Device) -> Offer:
    """Ask an open device. Raises :class:`OSError` with the kernel's errno."""
    kind = c.VFIO_REGION_TYPE_MIGRATION_DEPRECATED
    regions = device.find_regions(kind, c.VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED)
    saving = [region for region in device.regions if region.saving is not None]
    return Offer(len(regions), device.migration_feature(), len(saving))
