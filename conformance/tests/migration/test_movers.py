# SPDX-License-Identifier: GPL-2.0-only
"""Ways to move data: the same bytes, in the accesses that their names promise."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.migration.errors import MoverUnusable
from conformance.migration.v1.movers import MOVERS, accesses, mover
from conformance.migration.v1.region import MigrationRegion
from conformance.tests.vfio.fake_device import DATA_SIZE, PAGE, FakeDevice
from conformance.vfio import trace
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.memory.areas import Area

PATTERN = bytes(range(1, 200))


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    with FakeDevice() as device:
        yield device


@pytest.fixture
def migration(device: FakeDevice) -> MigrationRegion:
    return MigrationRegion.find(device)


@given(st.integers(0, 64), st.integers(0, 64), st.sampled_from((1, 2, 4, 8)))
def test_accesses_cover_the_range_once_and_are_aligned(offset: int, size: int, widest: int) -> None:
    at = offset
    for place, width in accesses(offset, size, widest):
        assert place == at
        assert place % width == 0
        assert width <= widest
        at += width
    assert at == offset + size


def test_accesses_are_as_wide_as_can_be() -> None:
    assert list(accesses(3, 14, 8)) == [(3, 1), (4, 4), (8, 8), (16, 1)]
    assert list(accesses(2, 7, 2)) == [(2, 2), (4, 2), (6, 2), (8, 1)]


@pytest.mark.parametrize("how", MOVERS)
@pytest.mark.parametrize("offset", [PAGE, PAGE + 3, PAGE + DATA_SIZE - len(PATTERN)])
def test_what_one_writes_another_reads(how: str, offset: int, migration: MigrationRegion) -> None:
    with mover(migration, how) as one:
        one.write(offset, PATTERN)
    for other in MOVERS:
        with mover(migration, other) as reader:
            assert reader.read(offset, len(PATTERN)) == PATTERN


@pytest.mark.parametrize(("how", "widths"), [("u8", {1}), ("u32", {1, 2, 4}), ("bulk", {21})])
def test_the_accesses_are_those_of_the_name(
    how: str,
    widths: set[int],
    device: FakeDevice,
    migration: MigrationRegion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: set[int] = set()
    pread = device.pread

    def watch(size: int, offset: int) -> bytes:
        seen.add(size)
        return pread(size, offset)

    monkeypatch.setattr(device, "pread", watch)
    with mover(migration, how) as move:
        move.read(PAGE + 1, 21)
    assert seen == widths


def test_what_cannot_be_mapped_goes_another_way(migration: MigrationRegion) -> None:
    migration.data_areas = (Area(2 * PAGE, PAGE),)
    with mover(migration, "mmap") as move:
        trace.start()
        move.write(2 * PAGE - 8, PATTERN)
        assert move.read(2 * PAGE - 8, len(PATTERN)) == PATTERN
        assert move.read(PAGE, 4) == bytes(4)
    lines = trace.lines()
    assert "data write [0x1ff8, 0x2000) in accesses of 8 bytes at most = ok" in lines
    assert "data read [0x2000, 0x20bf) through the mapping = ok" in lines


def test_nothing_to_map(migration: MigrationRegion) -> None:
    migration.data_areas = ()
    with pytest.raises(MoverUnusable), mover(migration, "mmap"):
        pass


def test_an_unknown_way(migration: MigrationRegion) -> None:
    with pytest.raises(ValueError, match="the ways are bulk, u64"), mover(migration, "u128"):
        pass


def test_the_mapping_goes_at_the_end(migration: MigrationRegion) -> None:
    trace.start()
    with mover(migration, "mmap"):
        pass
    assert trace.lines()[-1] == "munmap migration [0x1000, 0x3000) = ok"


@pytest.mark.parametrize("how", ["bulk", "u64", "u8"])
def test_a_short_read_is_an_error(how: str, device: FakeDevice, migration: MigrationRegion) -> None:
    device.defects.add("short data")
    with mover(migration, how) as move, pytest.raises(ShortTransfer):
        move.read(PAGE, 16)


@pytest.mark.parametrize("how", ["bulk", "u64", "u8"])
def test_a_short_write_is_an_error(
    how: str, migration: MigrationRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration.device, "pwrite", lambda _data, _offset: 0)
    with mover(migration, how) as move, pytest.raises(ShortTransfer, match="moved 0 of"):
        move.write(PAGE, PATTERN)
