# SPDX-License-Identifier: GPL-2.0-only
"""Accesses of any size and place to a register, of a device that answers to parts of it."""

from collections.abc import Iterator

import pytest

from conformance.model.layout import PAGE
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Scratch
from conformance.plugin.protocols import not_applicable
from conformance.vfio.memory.mapping import Mapping

#: Of a register, and of it and the next one; bytes.
WIDTH, BOTH = 4, 8
VALUE = 0x3C5A96E1
ALL = 0xFFFFFFFF
#: What is written to a part of a register.
OTHER = b"\x42\x17\x6b\x28"


@pytest.fixture
def page(trapped_place: Scratch) -> Iterator[tuple[Mapping, int]]:
    """Map the page of a register whose bits can all be written; with its offset there."""
    if trapped_place.mask != ALL:
        not_applicable("not all bits of the register can be written")
    at = trapped_place.offset % PAGE
    trapped_place.write(VALUE)
    with trapped_place.region.map(trapped_place.offset - at, PAGE) as mapping:
        yield mapping, at


def _parts(whole: int) -> list[tuple[int, int]]:
    """Return offset and size of each part of so many bytes."""
    return [(at, size) for at in range(whole) for size in range(1, whole - at + 1)]


@pytest.mark.rule("saving.trapped-access")
def test_read_a_part(page: tuple[Mapping, int], trapped_place: Scratch) -> None:
    """Read each part of two registers: the bytes that a read of both has."""
    mapping, at = page
    region = trapped_place.region
    whole = region.read(trapped_place.offset, BOTH)
    if bytes(mapping.load(at + byte, 1) for byte in range(BOTH)) != whole:
        not_applicable("a load of one byte is not a part of a register here")
    parts = _parts(BOTH)
    seen = [region.read(trapped_place.offset + begin, size) for begin, size in parts]
    wanted = [whole[begin : begin + size] for begin, size in parts]
    expect_equal(seen, wanted, did=f"read parts of {trapped_place.offset:#x}+{BOTH}")


@pytest.mark.rule("saving.trapped-access")
def test_write_a_part(page: tuple[Mapping, int], trapped_place: Scratch) -> None:
    """Write each part of a register: those bytes change, and no others."""
    mapping, at = page
    mapping.store(at + 1, 0x42, 1)
    if trapped_place.read() != VALUE & 0xFFFF00FF | 0x4200:
        not_applicable("a store of one byte is not one to a part of a register here")
    before = VALUE.to_bytes(WIDTH, "little")
    for begin, size in _parts(WIDTH):
        trapped_place.write(VALUE)
        trapped_place.region.write_exact(trapped_place.offset + begin, OTHER[:size])
        wanted = before[:begin] + OTHER[:size] + before[begin + size :]
        now = trapped_place.region.read(trapped_place.offset, WIDTH)
        expect_equal(now, wanted, did=f"write {size} bytes at {begin} of a register, read it")
