# SPDX-License-Identifier: GPL-2.0-only
"""The parts of the migration region behind the struct: the hole and the data section."""

import re
from collections.abc import Iterator

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.region import STRUCT_SIZE, MigrationRegion
from conformance.model.v1.states import State
from conformance.vfio import trace

WORD = 8
_DISTINCT = 3
_NOT_ZERO = re.compile(rb"[^\0]")


def data_begins(client: Client) -> int:
    """Return where the data section begins, as data_offset says in state 4; the device runs on.

    A part before that which can be mapped is section, too.
    """
    migration = client.migration
    with trace.quiet():
        migration.enter(State.RESUMING)
        begin = migration.data_offset
        migration.device.reset()
    return min([begin, *(area.offset for area in migration.data_areas)])


def holes(migration: MigrationRegion, begin: int) -> Iterator[bytes]:
    """Yield what reads between the struct and ``begin`` give: in each width, and all at once."""
    for width in (1, 2, 4, 8):
        for offset in range(STRUCT_SIZE, begin - width + 1, width if width > 2 else 64):
            yield _read(migration, offset, width)
    yield _read(migration, STRUCT_SIZE, begin - STRUCT_SIZE)


def _read(migration: MigrationRegion, offset: int, size: int) -> bytes:
    region = migration.region
    try:
        return region.device.pread(size, region.offset + offset)  # a trace would take as long again
    except OSError:
        return b""


def read_section(migration: MigrationRegion, *, mapped: bool) -> bytes:
    """Return all of the region behind the struct that can be read, or mapped, in any state.

    Skips if it should be mapped and cannot be.
    """
    if mapped:
        if not migration.data_areas:
            pytest.skip("no part of the data section can be mapped")
        parts = []
        for area in migration.data_areas:
            with migration.region.map_area(area) as mapping:
                parts.append(mapping.read(0, area.size))
        return b"".join(parts)
    step = 4096
    return b"".join(
        _read(migration, offset, min(step, migration.size - offset)).ljust(step, b"\0")
        for offset in (STRUCT_SIZE, *range(step, migration.size, step))
    )


def shared_words(one: bytes, other: bytes) -> int:
    """Return how many telling words two byte strings share, wherever they stand.

    A word is distinctive if it has several different bytes; numbers such as 0, 1 and -1 do not.
    The words of the longer string are those at multiples of `WORD`, so what is shared must have
    two words in a row to be found for sure.
    """
    short, long = sorted((one, other), key=len)
    if not _NOT_ZERO.search(short) or not _NOT_ZERO.search(long):
        return 0
    words: set[int] = set()
    for shift in range(WORD):
        words.update(_words(short[shift:]))
    shared = words.intersection(_words(long))
    return sum(len(set(word.to_bytes(WORD, "little"))) > _DISTINCT for word in shared)


def _words(data: bytes) -> memoryview:
    """Return the whole words of some bytes, without making them all at once."""
    return memoryview(data)[: len(data) // WORD * WORD].cast("Q")
