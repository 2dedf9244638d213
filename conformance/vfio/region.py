# SPDX-License-Identifier: GPL-2.0-only
"""One region of a device: its description, exact reads and writes, mappings."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from conformance.uapi import constants as c
from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.capabilities import (
    Capability,
    RegionType,
    SparseMmap,
    decode_type,
    find,
    find_layout,
)
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.memory import libc
from conformance.vfio.memory.areas import Area, subtract, union
from conformance.vfio.memory.mapping import Mapping, map_fd

_PCI_NAMES: Final = {
    c.VFIO_PCI_ROM_REGION_INDEX: "ROM",
    c.VFIO_PCI_CONFIG_REGION_INDEX: "config",
    c.VFIO_PCI_VGA_REGION_INDEX: "VGA",
}

_SHOWN: Final = 8  # bytes of a transfer that the trace spells out


def region_name(index: int) -> str:
    """Return how messages call the region of a PCI function with this index."""
    if index <= c.VFIO_PCI_BAR5_REGION_INDEX:
        return f"BAR{index}"
    return _PCI_NAMES.get(index, f"region {index}")


def shown(data: bytes) -> str:
    """Return bytes as the trace has them: a number for a register, else the first few."""
    if len(data) in (1, 2, 4, 8):
        return f"{int.from_bytes(data, 'little'):#x}"
    return f"{data[:_SHOWN].hex(' ')}{' ...' if len(data) > _SHOWN else ''}"


@dataclass(frozen=True)
class RegionInfo:
    """The answer to VFIO_DEVICE_GET_REGION_INFO, capabilities included if there was room.

    ``given`` is the size of the buffer that was offered, ``argsz`` what the kernel wrote back.
    """

    given: int
    argsz: int
    flags: int
    index: int
    cap_offset: int
    size: int
    offset: int
    capabilities: tuple[Capability, ...]


class DeviceFile(Protocol):
    """What a region needs of the device that it belongs to.

    Attributes:
        fd: The device's file as it is open now.
        prefix: Comes before the region's name in the trace.
    """

    fd: int
    prefix: str

    def pread(self, size: int, offset: int, /) -> bytes:
        """Read at an offset of the device file; may be short."""

    def pwrite(self, data: bytes, offset: int, /) -> int:
        """Write at an offset of the device file and return how many bytes were taken."""


class Region:
    """A region of an open device.

    ``name`` is what messages call it, ``size`` is in bytes, ``offset`` is where it begins in
    the device's file. Every access goes to the device file as it is at that time, so a region
    stays usable when its device is opened again.
    """

    def __init__(self, device: DeviceFile, info: RegionInfo, name: str | None = None) -> None:
        self.device = device
        self.info = info
        self.index = info.index
        self.name = device.prefix + (name or region_name(info.index))
        self.size = info.size
        self.offset = info.offset

    def __repr__(self) -> str:
        return f"<Region {self.name} of {self.size:#x} bytes>"

    @property
    def readable(self) -> bool:
        """Whether the region says it can be read."""
        return bool(self.info.flags & c.VFIO_REGION_INFO_FLAG_READ)

    @property
    def writable(self) -> bool:
        """Whether the region says it can be written."""
        return bool(self.info.flags & c.VFIO_REGION_INFO_FLAG_WRITE)

    @property
    def mappable(self) -> bool:
        """Whether the region says that it, or a part of it, can be mapped."""
        return bool(self.info.flags & c.VFIO_REGION_INFO_FLAG_MMAP)

    @cached_property
    def type(self) -> RegionType | None:
        """The type capability of a device specific region."""
        cap = find(self.info.capabilities, c.VFIO_REGION_INFO_CAP_TYPE)
        return decode_type(cap) if cap else None

    @cached_property
    def sparse(self) -> SparseMmap | None:
        """The run-time layout (id 1) as the kernel gave it, or None."""
        return find_layout(self.info.capabilities, saving=False)

    @cached_property
    def saving(self) -> SparseMmap | None:
        """The saving layout (id 6) as the kernel gave it, or None."""
        return find_layout(self.info.capabilities, saving=True)

    @cached_property
    def runtime_areas(self) -> tuple[Area, ...]:
        """What can be mapped at run time, ascending and disjoint.

        The whole region without a run-time layout, nothing if it cannot be mapped.
        """
        if not self.mappable or not self.size:
            return ()
        return union(self.sparse.areas) if self.sparse else (Area(0, self.size),)

    @cached_property
    def saving_areas(self) -> tuple[Area, ...]:
        """What may stay mapped while saving; without a saving layout the run-time layout."""
        return union(self.saving.areas) if self.saving else self.runtime_areas

    @cached_property
    def conflicting_areas(self) -> tuple[Area, ...]:
        """What can be mapped at run time and must not be mapped while saving."""
        return subtract(self.runtime_areas, self.saving_areas)

    def read(
        self,
        offset: int,
        size: int,
        *,
        what: str = "",
        show: Callable[[bytes], str] = shown,
    ) -> bytes:
        """Read with one pread(); the answer is as long as what the kernel moved.

        ``what`` replaces the place in the trace, ``show`` says there what came. Raises
        :class:`OSError`.
        """
        with trace.call(what or f"read {self.name} {offset:#x}+{size}") as done:
            data = self.device.pread(size, self.offset + offset)
            done.result = show(data) if len(data) == size else f"{len(data)} bytes"
        return data

    def write(self, offset: int, data: bytes, *, what: str = "") -> int:
        """Write with one pwrite() and return how many bytes the kernel took.

        ``what`` replaces place and bytes in the trace. Raises :class:`OSError`.
        """
        with trace.call(what or f"write {self.name} {offset:#x} <- {shown(data)}") as done:
            moved = self.device.pwrite(data, self.offset + offset)
            if moved != len(data):
                done.result = f"{moved} of {len(data)} bytes"
        return moved

    def read_exact(
        self,
        offset: int,
        size: int,
        *,
        what: str = "",
        show: Callable[[bytes], str] = shown,
    ) -> bytes:
        """Read all or raise :class:`ShortTransfer`, or :class:`OSError`."""
        data = self.read(offset, size, what=what, show=show)
        if len(data) != size:
            place = what or f"read {self.name} {offset:#x}"
            raise ShortTransfer(place, wanted=size, moved=len(data))
        return data

    def write_exact(self, offset: int, data: bytes, *, what: str = "") -> None:
        """Write all or raise :class:`ShortTransfer`, or :class:`OSError`."""
        moved = self.write(offset, data, what=what)
        if moved != len(data):
            place = what or f"write {self.name} {offset:#x}"
            raise ShortTransfer(place, wanted=len(data), moved=moved)

    def read_int(self, offset: int, width: int = 4, *, what: str = "") -> int:
        """Read one little endian number of ``width`` bytes with one access."""
        return int.from_bytes(self.read_exact(offset, width, what=what), "little")

    def write_int(self, offset: int, value: int, width: int = 4, *, what: str = "") -> None:
        """Write one little endian number of ``width`` bytes with one access."""
        self.write_exact(offset, value.to_bytes(width, "little"), what=what)

    def read_to(self, address: int, offset: int, size: int) -> int:
        """Read into raw memory at ``address``, which may be unmapped; return the byte count."""
        with trace.call(f"read {self.name} {offset:#x}+{size} to {address:#x}") as done:
            moved = libc.pread_to(self.device.fd, address, size, self.offset + offset)
            done.result = f"{moved} bytes"
        return moved

    def write_from(self, address: int, offset: int, size: int) -> int:
        """Write from raw memory at ``address``, which may be unmapped; return the byte count."""
        with trace.call(f"write {self.name} {offset:#x}+{size} from {address:#x}") as done:
            moved = libc.pwrite_from(self.device.fd, address, size, self.offset + offset)
            done.result = f"{moved} bytes"
        return moved

    def map(
        self,
        offset: int = 0,
        size: int | None = None,
        *,
        prot: int = mman.PROT_READ | mman.PROT_WRITE,
        flags: int = mman.MAP_SHARED,
        address: int = 0,
        fd: int | None = None,
    ) -> Mapping:
        """Map ``size`` bytes from ``offset`` (the rest of the region by default).

        ``fd`` maps through another descriptor of the same device. Raises :class:`OSError`.
        """
        return map_fd(
            self.device.fd if fd is None else fd,
            self.offset + offset,
            self.size - offset if size is None else size,
            prot=prot,
            flags=flags,
            address=address,
            name=self.name,
            offset=offset,
        )

    def map_area(self, area: Area) -> Mapping:
        """Map one area readable, writable and shared."""
        return self.map(area.offset, area.size)
