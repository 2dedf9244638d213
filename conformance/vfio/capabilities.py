# SPDX-License-Identifier: GPL-2.0-only
"""Capability chains of INFO ioctls: found, checked, decoded."""

import ctypes
from dataclasses import dataclass
from typing import Final

from conformance.uapi import constants as c
from conformance.uapi.structs import (
    vfio_info_cap_header,
    vfio_region_info_cap_sparse_mmap,
    vfio_region_info_cap_type,
    vfio_region_sparse_mmap_area,
)
from conformance.vfio.errors import ChainError
from conformance.vfio.memory.areas import Area

_HEADER: Final = ctypes.sizeof(vfio_info_cap_header)
_SPARSE: Final = ctypes.sizeof(vfio_region_info_cap_sparse_mmap)
_AREA: Final = ctypes.sizeof(vfio_region_sparse_mmap_area)
_TYPE: Final = ctypes.sizeof(vfio_region_info_cap_type)


@dataclass(frozen=True)
class Capability:
    """One capability: where it begins in the buffer, its head, and its bytes up to the next.

    ``data`` includes the header. For the last capability it reaches to the end of the buffer.
    """

    offset: int
    id: int
    version: int
    data: bytes


@dataclass(frozen=True)
class SparseMmap:
    """A decoded layout: ids 1 (run-time) and 6 (saving). The areas are as the kernel gave them."""

    id: int
    version: int
    reserved: int
    areas: tuple[Area, ...]


@dataclass(frozen=True)
class RegionType:
    """A decoded type capability (id 2)."""

    type: int
    subtype: int


def parse_chain(buffer: bytes, first: int, fixed: int) -> tuple[Capability, ...]:
    """Follow the chain that begins at ``first`` in the answer of an INFO ioctl.

    ``fixed`` is the size of the struct before the capabilities. Raises :class:`ChainError` if
    an offset points into that struct, outside the buffer, into a capability seen before, or is
    not a multiple of four.
    """
    heads: list[tuple[int, vfio_info_cap_header]] = []
    at = first
    while at:
        if at < fixed or at + _HEADER > len(buffer):
            raise ChainError(
                f"a capability is said to be at {at:#x}, outside [{fixed:#x}, {len(buffer):#x})"
            )
        if at % 4:
            raise ChainError(f"a capability is said to be at {at:#x}, which is not aligned")
        if any(abs(at - seen) < _HEADER for seen, _ in heads):
            raise ChainError(f"the capability at {at:#x} is reached twice: the chain loops")
        head = vfio_info_cap_header.from_buffer_copy(buffer, at)
        heads.append((at, head))
        at = head.next
    starts = sorted(at for at, _ in heads)
    ends = dict(zip(starts, [*starts, len(buffer)][1:], strict=True))
    return tuple(Capability(at, h.id, h.version, buffer[at : ends[at]]) for at, h in heads)


def decode_sparse(cap: Capability) -> SparseMmap:
    """Decode a layout. Raises :class:`ChainError` if ``nr_areas`` does not fit its bytes."""
    if len(cap.data) < _SPARSE:
        raise ChainError(f"capability {cap.id} has {len(cap.data)} bytes, a layout needs {_SPARSE}")
    head = vfio_region_info_cap_sparse_mmap.from_buffer_copy(cap.data)
    if _SPARSE + head.nr_areas * _AREA > len(cap.data):
        raise ChainError(
            f"capability {cap.id} claims {head.nr_areas} areas, "
            f"its {len(cap.data)} bytes hold {(len(cap.data) - _SPARSE) // _AREA}"
        )
    raw = (
        vfio_region_sparse_mmap_area.from_buffer_copy(cap.data, _SPARSE + i * _AREA)
        for i in range(head.nr_areas)
    )
    areas = tuple(Area(area.offset, area.size) for area in raw)
    return SparseMmap(cap.id, cap.version, head.reserved, areas)


def decode_type(cap: Capability) -> RegionType:
    """Decode a type capability. Raises :class:`ChainError` if it is too small."""
    if len(cap.data) < _TYPE:
        raise ChainError(f"a type capability has {len(cap.data)} bytes, it needs {_TYPE}")
    raw = vfio_region_info_cap_type.from_buffer_copy(cap.data)
    return RegionType(raw.type, raw.subtype)


def find(caps: tuple[Capability, ...], cap_id: int) -> Capability | None:
    """Return the capability with this id, or None. Raises :class:`ChainError` if two have it."""
    found = [cap for cap in caps if cap.id == cap_id]
    if len(found) > 1:
        raise ChainError(f"capability {cap_id} appears {len(found)} times in one chain")
    return found[0] if found else None


def find_layout(caps: tuple[Capability, ...], *, saving: bool) -> SparseMmap | None:
    """Return the run-time layout, or the saving layout, or None if the chain has none."""
    cap = find(
        caps,
        c.VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING if saving else c.VFIO_REGION_INFO_CAP_SPARSE_MMAP,
    )
    return decode_sparse(cap) if cap else None
