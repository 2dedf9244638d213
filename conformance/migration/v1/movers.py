# SPDX-License-Identifier: GPL-2.0-only
"""Ways to move the bytes of the data section: in bulk, by width, by alignment, by mapping.

The protocol leaves the choice to the user, and the bytes have to be the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from conformance.migration.errors import MoverUnusable
from conformance.migration.v1.region import MigrationRegion
from conformance.vfio import trace
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.memory.areas import Area
from conformance.vfio.memory.mapping import Mapping

#: Names of all movers. ``aligned`` is what the virtual machine monitor did without a mapping:
#: at each place the widest access that its alignment and the rest allow.
MOVERS: Final = ("bulk", "u64", "u32", "u16", "u8", "aligned", "mmap")

_WIDTHS: Final = {"u64": 8, "u32": 4, "u16": 2, "u8": 1, "aligned": 8}


def accesses(offset: int, size: int, widest: int) -> Iterator[tuple[int, int]]:
    """Cut a transfer into (offset, width) of naturally aligned accesses, ``widest`` at most."""
    end = offset + size
    while offset < end:
        width = widest
        while width > 1 and (offset % width or offset + width > end):
            width //= 2
        yield offset, width
        offset += width


@dataclass
class Mover:
    """Moves bytes of a migration region in one of the ways of :data:`MOVERS`.

    With ``mmap`` the parts of a transfer that cannot be mapped go the ``aligned`` way.
    Make it with :func:`mover`, which also unmaps. Transfers raise :class:`OSError` or
    :class:`~conformance.vfio.errors.ShortTransfer`.
    """

    region: MigrationRegion
    how: str
    mappings: list[tuple[Area, Mapping]] = field(default_factory=list)

    def read(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes at ``offset`` of the region."""
        parts = [self._read_part(area, mapping) for area, mapping in self._parts(offset, size)]
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at ``offset`` of the region."""
        for area, mapping in self._parts(offset, len(data)):
            self._write_part(area, data[area.offset - offset : area.end - offset], mapping)

    def _parts(self, offset: int, size: int) -> Iterator[tuple[Area, Mapping | None]]:
        at, end = offset, offset + size
        for area, mapping in self.mappings:
            if at >= end or area.end <= at or area.offset >= end:
                continue
            if at < area.offset:
                yield Area(at, area.offset - at), None
                at = area.offset
            stop = min(end, area.end)
            yield Area(at, stop - at), mapping
            at = stop
        if at < end:
            yield Area(at, end - at), None

    def _words(self, verb: str, area: Area, way: str) -> str:
        return f"{self.region.device.prefix}data {verb} {area} {way}"

    def _read_part(self, area: Area, mapping: Mapping | None) -> bytes:
        if mapping:
            with trace.call(self._words("read", area, "through the mapping")):
                return mapping.read(area.offset - mapping.offset, area.size)
        if self.how == "bulk":
            return self.region.region.read_exact(
                area.offset, area.size, what=self._words("read", area, "in bulk")
            )
        # One line of trace for all of them, and no more Python than needed for each.
        what = self._words("read", area, f"in accesses of {self._widest} bytes at most")
        device, base = self.region.device, self.region.region.offset
        parts = []
        with trace.call(what):
            for offset, width in accesses(area.offset, area.size, self._widest):
                part = device.pread(width, base + offset)
                if len(part) != width:
                    raise ShortTransfer(f"{what}, at {offset:#x},", wanted=width, moved=len(part))
                parts.append(part)
        return b"".join(parts)

    def _write_part(self, area: Area, data: bytes, mapping: Mapping | None) -> None:
        if mapping:
            with trace.call(self._words("write", area, "through the mapping")):
                mapping.write(area.offset - mapping.offset, data)
            return
        if self.how == "bulk":
            self.region.region.write_exact(
                area.offset, data, what=self._words("write", area, "in bulk")
            )
            return
        what = self._words("write", area, f"in accesses of {self._widest} bytes at most")
        device, base = self.region.device, self.region.region.offset
        with trace.call(what):
            for offset, width in accesses(area.offset, area.size, self._widest):
                start = offset - area.offset
                moved = device.pwrite(data[start : start + width], base + offset)
                if moved != width:
                    raise ShortTransfer(f"{what}, at {offset:#x},", wanted=width, moved=moved)

    @property
    def _widest(self) -> int:
        return _WIDTHS.get(self.how, 8)


@contextmanager
def mover(region: MigrationRegion, how: str) -> Iterator[Mover]:
    """Provide a mover for a block; its mappings go at the end.

    Raises :class:`MoverUnusable` for ``mmap`` where no part of the data section can be mapped,
    :class:`ValueError` for a name that is not in :data:`MOVERS`, :class:`OSError`.
    """
    if how not in MOVERS:
        raise ValueError(f"{how!r} is not a way to move data; the ways are {', '.join(MOVERS)}")
    made = Mover(region, how)
    if how == "mmap" and not region.data_areas:
        raise MoverUnusable("no part of the data section can be mapped")
    try:
        if how == "mmap":
            for area in region.data_areas:
                made.mappings.append((area, region.region.map_area(area)))
        yield made
    finally:
        for _, mapping in made.mappings:
            mapping.close()
