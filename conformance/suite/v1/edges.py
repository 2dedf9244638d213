# SPDX-License-Identifier: GPL-2.0-only
"""Narrow accesses at the ends of a large buffer only; its middle is moved in bulk."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from conformance.migration.v1.movers import Mover, mover
from conformance.migration.v1.region import MigrationRegion

#: Bytes at each end moved in narrow accesses: 16 MiB of single bytes would take minutes.
EDGE: Final = 8192


class EdgeMover(Mover):
    """Moves the ends of a large transfer by its own kind of access, the middle in bulk."""

    bulk: Mover

    def read(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes at ``offset`` of the region."""
        if size <= 2 * EDGE:
            return super().read(offset, size)
        head, tail = super().read(offset, EDGE), super().read(offset + size - EDGE, EDGE)
        return head + self.bulk.read(offset + EDGE, size - 2 * EDGE) + tail

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at ``offset`` of the region."""
        if len(data) <= 2 * EDGE:
            super().write(offset, data)
            return
        super().write(offset, data[:EDGE])
        self.bulk.write(offset + EDGE, data[EDGE:-EDGE])
        super().write(offset + len(data) - EDGE, data[-EDGE:])


@contextmanager
def edge_mover(migration: MigrationRegion, how: str) -> Iterator[Mover]:
    """Provide a mover; all kinds but ``mmap`` and ``bulk`` move only the edges their own way."""
    with mover(migration, how) as made, mover(migration, "bulk") as bulk:
        if how in {"mmap", "bulk"}:
            yield made
        else:
            edges = EdgeMover(migration, how)
            edges.bulk = bulk
            yield edges
