# SPDX-License-Identifier: GPL-2.0-only
"""Accesses whose user buffer is not there: EFAULT, and nothing has happened."""

from collections.abc import Iterator
from errno import EFAULT

import pytest

from conformance.migration.v1.client import Buffer, Client
from conformance.migration.v1.region import (
    DATA_OFFSET,
    DATA_SIZE,
    DEVICE_STATE,
    PENDING_BYTES,
    RESERVED,
    Field,
    MigrationRegion,
)
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, unchanged
from conformance.suite.support.cases import named
from conformance.uapi import mman
from conformance.vfio.memory.libc import NOWHERE
from conformance.vfio.memory.mapping import anonymous

PAGE = 4096


@pytest.fixture(params=["unmapped", "straddling"])
def bad(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give the address of a buffer that is not there, or of which only two bytes are."""
    with anonymous(2 * PAGE) as memory:
        memory.mprotect(PAGE, PAGE, mman.PROT_NONE)
        yield NOWHERE if request.param == "unmapped" else memory.address + PAGE - 2


@pytest.mark.rule("access.bad-buffer")
@pytest.mark.parametrize("field", named({"device_state": DEVICE_STATE, "reserved": RESERVED}))
def test_bad_buffer_for_registers(migration: MigrationRegion, field: Field, bad: int) -> None:
    """Read and write device_state and reserved with a bad buffer: EFAULT, the state stays."""
    before = migration.snapshot()
    with expect_errno(EFAULT, did=f"read {field.name} into a bad buffer") as call:
        call.result = migration.region.read_to(bad, field.offset, 4)
    with expect_errno(EFAULT, did=f"write {field.name} from a bad buffer") as call:
        call.result = migration.region.write_from(bad, field.offset, 4)
    expect_equal(migration.snapshot(), before, did="read the struct before and after")


@pytest.mark.rule("access.bad-buffer")
@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("field", named({"data_offset": DATA_OFFSET, "data_size": DATA_SIZE}))
def test_bad_buffer_begins_nothing(migration: MigrationRegion, field: Field, bad: int) -> None:
    """Read data_offset or data_size into a bad buffer: EFAULT, and no iteration has begun."""
    migration.enter(State.STOP_AND_COPY)
    with (
        unchanged(lambda: migration.pending_bytes, did=f"read {field.name} into a bad buffer"),
        expect_errno(EFAULT, did=f"read {field.name} into a bad buffer") as call,
    ):
        call.result = migration.region.read_to(bad, field.offset, 8)


@pytest.mark.rule("access.bad-buffer")
def test_bad_buffer_consumes_nothing(client: Client, iteration: Buffer, bad: int) -> None:
    """Read pending_bytes into a bad buffer in an iteration: EFAULT, the buffer is still there."""
    region = client.migration.region
    with expect_errno(EFAULT, did="read pending_bytes into a bad buffer") as call:
        call.result = region.read_to(bad, PENDING_BYTES.offset, 8)
    window = (iteration.offset, iteration.size)
    expect_equal(client.read_window(), window, did="read data_offset and data_size after that")
    expect_equal(region.read(*window), iteration.data, did="read the data after that")


@pytest.mark.rule("access.bad-buffer")
def test_bad_buffer_for_saved_data(migration: MigrationRegion, iteration: Buffer) -> None:
    """Read data into a bad buffer: EFAULT, and the data can still be read."""
    with expect_errno(EFAULT, did="read data into a bad buffer") as call:
        call.result = migration.region.read_to(NOWHERE, iteration.offset, iteration.size)
    data = migration.region.read(iteration.offset, iteration.size)
    expect_equal(data, iteration.data, did="read the data after that")


@pytest.mark.rule("access.bad-buffer")
def test_bad_buffer_for_data_size(client: Client, stream: list[bytes], bad: int) -> None:
    """Write data_size from a bad buffer while resuming: EFAULT, and no data was taken."""
    migration = client.migration
    migration.enter(State.RESUMING)
    migration.region.write_exact(migration.data_offset, stream[0])
    with expect_errno(EFAULT, did="write data_size from a bad buffer") as call:
        call.result = migration.region.write_from(bad, DATA_SIZE.offset, 8)
    with expect_success(did="give the whole stream after that, and run"):
        client.write_all(stream)
        migration.set_state(State.RUNNING)


@pytest.mark.rule("access.bad-buffer")
def test_bad_buffer_for_data_to_resume(client: Client, stream: list[bytes]) -> None:
    """Write data from a bad buffer while resuming: EFAULT, and the stream can still be given."""
    migration = client.migration
    migration.enter(State.RESUMING)
    with expect_errno(EFAULT, did="write data from a bad buffer") as call:
        call.result = migration.region.write_from(NOWHERE, migration.data_offset, 64)
    with expect_success(did="give the whole stream after that, and run"):
        client.write_all(stream)
        migration.set_state(State.RUNNING)
