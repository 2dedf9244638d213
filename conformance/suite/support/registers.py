# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a device as read() shows them."""

import time
from collections.abc import Iterable, Iterator

from conformance.plugin.declared import Place
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


def words_of(device: Device, names: Iterable[str]) -> dict[str, bytes]:
    """Read some registers, named as :func:`moved_between` names them."""
    bars = {region.name: region for region in device.regions}
    words = {}
    for name in names:
        bar, _, offset = name.partition("+")
        words[name] = bars[bar].read(int(offset, 16), WIDTH)
    return words


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


def moving_registers(
    device: Device, seconds: float, volatile: Iterable[Place] = (), *, looks: int = 2
) -> list[str]:
    """Return the registers that change by themselves in some seconds, at each of some looks."""
    ignored = tuple(volatile)
    moved: list[str] = []
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
