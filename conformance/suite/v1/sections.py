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
_NOT_ZERO = re.compile(rb"[^\0](?:\0{0,7}[^\0])*")
"""Bytes with fewer than a word of zeros between them."""


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
    with trace.quiet():
        for width in (1, 2, 4, 8):
            for offset in range(STRUCT_SIZE, begin - width + 1, width if width > 2 else 64):
                yield _read(migration, offset, width)
        yield _read(migration, STRUCT_SIZE, begin - STRUCT_SIZE)


def _read(migration: MigrationRegion, offset: int, size: int) -> bytes:
    try:
        return migration.region.read(offset, size)
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
    with trace.quiet():
        return b"".join(
            _read(migration, offset, min(step, migration.size - offset)).ljust(step, b"\0")
            for offset in (STRUCT_SIZE, *range(step, migration.size, step))
        )


def shared_words(data: bytes, section: bytes) -> int:
    """Return how many telling words of ``data`` stand in ``section`` as well, anywhere.

    A word is distinctive if it has several different bytes; numbers such as 0, 1 and -1 do not.
    """
    if not _NOT_ZERO.search(section):
        return 0  # clean; a stream of many MiB is not taken apart for it
    words = {data[at : at + WORD] for at in range(0, len(data) - WORD + 1, WORD)}
    telling = {word for word in words if len(set(word)) > _DISTINCT}
    found = set()
    for run in _NOT_ZERO.finditer(section):  # a clean section of many MiB has none
        for at in range(max(run.start() - WORD + 1, 0), run.end()):
            word = section[at : at + WORD]
            if word in telling:
                found.add(word)
    return len(found)
