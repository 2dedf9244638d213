# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a device as read() shows them."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from conformance.plugin.declared import Place
from conformance.vfio.device import Device
from conformance.vfio.region import Region, region_name

#: BARs larger than this are memory, or have too many registers to be read for a look.
MOST = 1 << 20
WIDTH = 4
_BLOCK = 4096

Picture = dict[str, bytes]


@dataclass(frozen=True, order=True)
class Register:
    """A 32-bit register of a BAR; messages show it as ``BAR0+0x1048``."""

    bar: str
    offset: int

    def __repr__(self) -> str:
        return f"{self.bar}+{self.offset:#x}"


def readable_bars(device: Device) -> list[Region]:
    """Return the BARs that can be read."""
    return [region for region in device.regions if region.index <= 5 and region.readable]


def registers_of(device: Device) -> Picture:
    """Read every BAR that is not too large, and return the bytes by the BAR's name."""
    return {
        region_name(region.index): region.read(0, region.size)
        for region in readable_bars(device)
        if region.size <= MOST
    }


def words_of(device: Device, registers: Iterable[Register]) -> dict[Register, bytes]:
    """Read some registers, such as :func:`moved_between` returns."""
    bars = {region_name(region.index): region for region in device.regions}
    return {each: bars[each.bar].read(each.offset, WIDTH) for each in registers}


def moved_between(
    before: Picture, after: Picture, volatile: Iterable[Place] = ()
) -> list[Register]:
    """Return the registers whose values differ, but not for ``volatile`` bits alone."""
    ignored: dict[Register, int] = {}
    for place in volatile:
        at = Register(region_name(place.bar), place.offset)
        ignored[at] = ignored.get(at, 0) | place.mask
    return [
        Register(bar, offset)
        for bar, data in before.items()
        for offset in _unequal(data, after[bar])
        if (_value(data, offset) ^ _value(after[bar], offset))
        & ~ignored.get(Register(bar, offset), 0)
    ]


def moving_registers(
    device: Device, seconds: float, volatile: Iterable[Place] = (), *, looks: int = 2
) -> list[Register]:
    """Return the registers that change by themselves in some seconds, at each of some looks."""
    ignored = tuple(volatile)
    moved: list[Register] = []
    # One that is cleared by a read settles; one that moves by itself moves each time.
    for _ in range(looks):
        before = registers_of(device)
        time.sleep(seconds)
        moved = moved_between(before, registers_of(device), ignored)
        if not moved:
            break
    return moved


def _unequal(one: bytes, other: bytes) -> Iterator[int]:
    """Yield the offsets of registers that differ; thousands that do not are compared at once."""
    for begin in range(0, len(one), _BLOCK):
        if one[begin : begin + _BLOCK] != other[begin : begin + _BLOCK]:
            for offset in range(begin, min(begin + _BLOCK, len(one)), WIDTH):
                if one[offset : offset + WIDTH] != other[offset : offset + WIDTH]:
                    yield offset


def _value(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + WIDTH], "little")
