# SPDX-License-Identifier: GPL-2.0-only
"""Names of states, and the registers of the migration region."""

import errno
from collections.abc import Iterator

import pytest

from conformance.migration.errors import NoMigrationRegion
from conformance.migration.v1.region import (
    DATA_OFFSET,
    DEVICE_STATE,
    FIELDS,
    STRUCT_SIZE,
    MigrationRegion,
)
from conformance.migration.v1.states import ERROR, STATES, WRITABLE, state_name, words
from conformance.tests.plugin.raising import raises_errno
from conformance.tests.vfio.fake_device import DATA_SIZE, PAGE, FakeDevice
from conformance.vfio import trace
from conformance.vfio.memory.areas import Area


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    with FakeDevice() as device:
        trace.start()
        yield device


@pytest.mark.parametrize(
    ("value", "name"),
    [(0, "stopped"), (3, "_RUNNING|_SAVING"), (6, "error"), (0x100, "0x100"), (0x13, None)],
)
def test_names(value: int, name: str | None) -> None:
    assert state_name(value) == (name or "_RUNNING|_SAVING|0x10")


def test_words() -> None:
    assert words(2) == "2 (_SAVING)"
    assert words(0x12) == "0x12 (_SAVING|0x10)"


def test_the_states() -> None:
    assert set(WRITABLE) == set(STATES) - {ERROR}


def test_the_registers() -> None:
    assert [(field.name, field.offset, field.width) for field in FIELDS] == [
        ("device_state", 0, 4),
        ("reserved", 4, 4),
        ("pending_bytes", 8, 8),
        ("data_offset", 16, 8),
        ("data_size", 24, 8),
    ]
    assert STRUCT_SIZE == 32


def test_find(device: FakeDevice) -> None:
    migration = MigrationRegion.find(device)
    assert migration.region.name == "migration"
    assert migration.size == PAGE + DATA_SIZE
    assert migration.data_areas == (Area(PAGE, DATA_SIZE),)


def test_no_region(device: FakeDevice) -> None:
    device.defects.add("no region")
    with pytest.raises(NoMigrationRegion, match="has 0 regions of type"):
        MigrationRegion.find(device)


def test_the_trace_names_registers_and_states(device: FakeDevice) -> None:
    migration = MigrationRegion.find(device)
    trace.start()
    migration.enter(3, 2)
    assert migration.state == 2
    with raises_errno(errno.EINVAL):
        migration.set_state(5)
    assert migration.data_offset == PAGE
    migration.set_state(0)
    migration.set_state(1)
    migration.set_state(4)
    migration.set_data_size(0)
    assert trace.lines() == [
        "device_state <- 3 (_RUNNING|_SAVING) = ok",
        "device_state <- 2 (_SAVING) = ok",
        "device_state = 2 (_SAVING)",
        "device_state <- 5 (_RUNNING|_RESUMING) = EINVAL",
        "data_offset = 0x1000",
        "device_state <- 0 (stopped) = ok",
        "device_state <- 1 (_RUNNING) = ok",
        "device_state <- 4 (_RESUMING) = ok",
        "data_size <- 0x0 = ok",
    ]


def test_the_registers_one_by_one(device: FakeDevice) -> None:
    migration = MigrationRegion.find(device)
    assert migration.snapshot() == (1, 0)
    assert migration.pending_bytes == 0
    assert migration.data_size == 0
    assert migration.reserved == 0
    assert migration.read_field(DEVICE_STATE) == 1
    assert migration.read_field(DATA_OFFSET) == PAGE
