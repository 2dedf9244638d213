# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a device as read() shows them."""

from collections.abc import Iterable, Iterator

from conformance.plugin.devices import Place
from conformance.vfio.device import Device

#: BARs larger than this are memory, or have too many registers to be read for a look.
MOST = 1 << 20
WIDTH = 4
_BLOCK = 4096

Picture = dict[str, bytes]


def registers_of(device: Device) -> Picture:
    """Read every BAR that is not too large, and return the bytes by the BAR's name."""
    return {
        region.name: region.read(0, region.size)
        for region in device.regions
        if region.index <= 5 and region.readable and region.size <= MOST
    }


def moved_between(before: Picture, after: Picture, volatile: Iterable[Place] = ()) -> list[str]:
    """Return the registers whose values differ, as ``BAR0+0x1048``; not in ``volatile`` bits."""
    ignored: dict[tuple[str, int], int] = {}
    for place in volatile:
        at = (f"BAR{place.bar}", place.offset)
        ignored[at] = ignored.get(at, 0) | place.mask
    return [
        f"{name}+{offset:#x}"
        for name, data in before.items()
        for offset in _unequal(data, after[name])
        if (_value(data, offset) ^ _value(after[name], offset)) & ~ignored.get((name, offset), 0)
    ]


def _unequal(one: bytes, other: bytes) -> Iterator[int]:
    """Yield the offsets of registers that differ; thousands that do not are compared at once."""
    for begin in range(0, len(one), _BLOCK):
        if one[begin : begin + _BLOCK] != other[begin : begin + _BLOCK]:
            for offset in range(begin, min(begin + _BLOCK, len(one)), WIDTH):
                if one[offset : offset + WIDTH] != other[offset : offset + WIDTH]:
                    yield offset


def _value(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + WIDTH], "little")
