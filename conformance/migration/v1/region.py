# SPDX-License-Identifier: GPL-2.0-only
"""The migration region: its registers one by one, its data section."""

import ctypes
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from conformance.migration.errors import NoMigrationRegion
from conformance.migration.v1.states import words
from conformance.uapi import constants as c
from conformance.uapi.structs import vfio_device_migration_info
from conformance.vfio.device import Device
from conformance.vfio.memory.areas import Area, intersect
from conformance.vfio.region import Region, shown


@dataclass(frozen=True)
class Field:
    """A register of the struct: where it is and how many bytes it has."""

    name: str
    offset: int
    width: int


def _field(name: str) -> Field:
    place = getattr(vfio_device_migration_info, name)
    return Field(name, place.offset, place.size)


DEVICE_STATE: Final = _field("device_state")
RESERVED: Final = _field("reserved")
PENDING_BYTES: Final = _field("pending_bytes")
DATA_OFFSET: Final = _field("data_offset")
DATA_SIZE: Final = _field("data_size")
#: All registers, in the order of the struct.
FIELDS: Final = (DEVICE_STATE, RESERVED, PENDING_BYTES, DATA_OFFSET, DATA_SIZE)
#: Size of the struct; the data section comes after it.
STRUCT_SIZE: Final = ctypes.sizeof(vfio_device_migration_info)


def _state_words(data: bytes) -> str:
    return words(int.from_bytes(data, "little"))


class MigrationRegion:
    """The registers of a device's migration region.

    Accesses have the register's own width. They raise :class:`OSError` with the kernel's errno
    and :class:`~conformance.vfio.errors.ShortTransfer` if not all bytes moved.
    """

    def __init__(self, device: Device, region: Region) -> None:
        self.region = region
        self.device = device

    @classmethod
    def find(cls, device: Device) -> "MigrationRegion":
        """Find the region by its type capability; raises :class:`NoMigrationRegion`."""
        kind = c.VFIO_REGION_TYPE_MIGRATION_DEPRECATED
        found = device.find_regions(kind, c.VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED)
        if len(found) != 1:
            raise NoMigrationRegion(
                f"{device.bdf} has {len(found)} regions of type ({kind}, "
                f"{c.VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED}), it should have one; is it bound "
                "to the vendor driver, and not to vfio-pci?"
            )
        found[0].name = f"{device.prefix}migration"
        return cls(device, found[0])

    @property
    def size(self) -> int:
        """Size of the whole region in bytes."""
        return self.region.size

    @cached_property
    def data_areas(self) -> tuple[Area, ...]:
        """The parts of the data section that can be mapped, if any."""
        return intersect(
            self.region.runtime_areas, (Area(STRUCT_SIZE, max(self.size - STRUCT_SIZE, 0)),)
        )

    def read_field(self, field: Field) -> int:
        """Read a register at its own width."""
        what = f"{self.device.prefix}{field.name}"
        show = _state_words if field is DEVICE_STATE else shown
        data = self.region.read_exact(field.offset, field.width, what=what, show=show)
        return int.from_bytes(data, "little")

    def write_field(self, field: Field, value: int) -> None:
        """Write a register at its own width."""
        shown = words(value) if field is DEVICE_STATE else f"{value:#x}"
        what = f"{self.device.prefix}{field.name} <- {shown}"
        self.region.write_int(field.offset, value, field.width, what=what)

    @property
    def state(self) -> int:
        """The device state as it reads now."""
        return self.read_field(DEVICE_STATE)

    def set_state(self, value: int) -> None:
        """Write device_state, which is the request for a transition."""
        self.write_field(DEVICE_STATE, value)

    @property
    def pending_bytes(self) -> int:
        """Read pending_bytes; while saving this ends an iteration whose data_offset was read."""
        return self.read_field(PENDING_BYTES)

    @property
    def data_offset(self) -> int:
        """Read data_offset; while saving this begins an iteration."""
        return self.read_field(DATA_OFFSET)

    @property
    def data_size(self) -> int:
        """Read data_size."""
        return self.read_field(DATA_SIZE)

    def set_data_size(self, value: int) -> None:
        """Write data_size: while resuming, the device takes that many bytes."""
        self.write_field(DATA_SIZE, value)

    @property
    def reserved(self) -> int:
        """Read the reserved register."""
        return self.read_field(RESERVED)

    def snapshot(self) -> tuple[int, int]:
        """Return state and reserved: what can be read in any state without a side effect."""
        return self.state, self.reserved

    def enter(self, *states: int) -> None:
        """Write these states one after another."""
        for state in states:
            self.set_state(state)
