# SPDX-License-Identifier: GPL-2.0-only
"""Throughput of reading the data section in each way, against memcpy()."""

import ctypes
from collections.abc import Iterator
from functools import partial
from typing import Final

from conformance.bench.measure.ratios import Case, compare, interleaved, timed
from conformance.events.kinds import Ratio
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.states import RESUMING
from conformance.vfio.device import Device
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.memory import libc
from conformance.vfio.memory.areas import Area
from conformance.vfio.memory.mapping import anonymous

_ROUNDS: Final = 21
_COPIES: Final = 50
_WIDTH: Final = 8


def measure(tested: Device) -> Iterator[Ratio]:
    """Yield the throughput of each way, as a part of that of memcpy().

    The device resumes meanwhile: then the whole section is the user's. A reset ends that. A
    section that cannot be mapped has no row for that way.
    """
    migration = MigrationRegion.find(tested)
    section = _section(migration)
    migration.set_state(RESUMING)
    with anonymous(section.size) as source, anonymous(section.size) as target:
        source.write(0, bytes(range(256)) * (section.size // 256))
        target.write(0, bytes(section.size))
        move = partial(ctypes.memmove, target.address)
        place = migration.region.offset + section.offset
        read = partial(_read, tested.fd, target.address)
        cases: dict[str, Case] = {
            "memcpy": partial(timed, partial(move, source.address, section.size), _COPIES),
            "bulk read": partial(timed, partial(read, section.size, place), _COPIES),
            "8-byte reads": lambda: _COPIES * timed(lambda: _read_narrow(read, section, place)),
        }
        if section in migration.data_areas:
            with migration.region.map_area(section) as mapped:
                copy = partial(move, mapped.address, section.size)
                cases["mapping"] = partial(timed, copy, _COPIES)
                taken = interleaved(cases, _ROUNDS)
        else:
            taken = interleaved(cases, _ROUNDS)
    tested.reset()
    for name in list(cases)[1:]:
        yield compare("stream", name, "memcpy", taken["memcpy"], taken[name])


def _section(migration: MigrationRegion) -> Area:
    """Return what of the data section can be mapped, or else all of it."""
    if migration.data_areas:
        return max(migration.data_areas, key=lambda area: area.size)
    migration.set_state(RESUMING)
    offset = migration.data_offset
    migration.device.reset()
    return Area(offset, (migration.size - offset) & ~0xFF)


def _read(fd: int, address: int, size: int, offset: int) -> None:
    moved = libc.pread_to(fd, address, size, offset)
    if moved != size:
        raise ShortTransfer("read of the data section", wanted=size, moved=moved)


def _read_narrow(read: "partial[None]", section: Area, place: int) -> None:
    for at in range(place, place + section.size, _WIDTH):
        read(_WIDTH, at)
