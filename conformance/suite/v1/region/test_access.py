# SPDX-License-Identifier: GPL-2.0-only
"""Access to the struct at the head of the region: its fields, and what is not a field."""

from collections.abc import Callable
from errno import EFAULT

import pytest

from conformance.migration.v1.client import Client
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
from conformance.plugin.checks import expect_equal, expect_success, expect_true, fail, unchanged
from conformance.suite.support.cases import named
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import expect_whole

PLAIN = {"device_state": DEVICE_STATE, "reserved": RESERVED}
ITERATION = {"data_offset": DATA_OFFSET, "data_size": DATA_SIZE}

#: Accesses that no field answers to: (offset, bytes).
MISFITS = {
    "state-by-1": (0, 1),
    "state-by-2": (0, 2),
    "state-upper-half": (2, 2),
    "state-and-reserved": (0, 8),
    "across-state-and-reserved": (2, 4),
    "reserved-by-1": (4, 1),
    "across-reserved-and-pending": (4, 8),
    "pending-by-4": (8, 4),
    "pending-upper-half": (12, 4),
    "pending-by-1": (8, 1),
    "across-pending-and-offset": (12, 8),
    "pending-and-offset": (8, 16),
    "offset-by-4": (16, 4),
    "offset-by-2": (16, 2),
    "across-offset-and-size": (20, 8),
    "size-by-4": (24, 4),
    "size-by-1": (31, 1),
    "across-the-end-of-the-struct": (28, 8),
    "whole-struct": (0, 32),
}


@pytest.mark.rule("access.native", "access.whole")
@pytest.mark.parametrize("state", by_state())
@pytest.mark.parametrize("field", named(PLAIN))
def test_read_in_any_state(reach: Reach, field: Field, state: State) -> None:
    """Read device_state and reserved at their width in every state: they answer."""
    migration = reach(state)
    expected = state if field is DEVICE_STATE else 0
    with expect_success(did=f"read {field.name} in state {state:d}"):
        value = migration.read_field(field)
    expect_equal(value, expected, did=f"read {field.name} in state {state:d}")


@pytest.mark.rule("access.native", "access.whole")
@pytest.mark.parametrize("state", by_state((State.STOP_AND_COPY, State.PRE_COPY)))
def test_read_pending_at_once(reach: Reach, state: State) -> None:
    """Read pending_bytes as the first thing while saving: all 8 bytes, whatever they say."""
    migration = reach(state)
    with expect_success(did=f"read pending_bytes right after entering state {state:d}"):
        migration.read_field(PENDING_BYTES)
    expect_equal(migration.state, state, did="read device_state after that")


@pytest.mark.rule("access.native")
@pytest.mark.parametrize("field", named(ITERATION))
@pytest.mark.usefixtures("iteration")
def test_read_in_an_iteration(migration: MigrationRegion, field: Field) -> None:
    """Read data_offset and data_size while something pends: each answers with all its bytes."""
    with expect_success(did=f"read {field.name} in an iteration"):
        value = migration.read_field(field)
    expect_true(value, did=f"read {field.name}", expected="not 0", actual="0")


@pytest.mark.rule("access.native")
def test_registers_of_resuming(client: Client, stream: list[bytes]) -> None:
    """Read data_offset and write data_size while resuming, each at its width: both succeed."""
    migration = client.migration
    migration.enter(State.RESUMING)
    with expect_success(did="read data_offset, write data, write data_size in state 4"):
        migration.region.write_exact(migration.data_offset, stream[0])
        migration.set_data_size(len(stream[0]))
    expect_equal(migration.state, State.RESUMING, did="read device_state after that")
    client.write_all(stream[1:])


def expect_misfit(access: Callable[[], object], did: str) -> None:
    """Demand an error that does not blame the buffer: that one is good."""
    try:
        returned = access()
    except OSError as error:
        expect_true(error.errno != EFAULT, did=did, expected="another error", actual="EFAULT")
        return
    fail(did=did, expected="an error", actual=f"success, returning {returned!r}")


@pytest.mark.rule("access.other-width")
@pytest.mark.parametrize(("offset", "size"), named(MISFITS))
def test_misfit_read(migration: MigrationRegion, offset: int, size: int) -> None:
    """Read what is not exactly one field while something pends: an error, nothing changes."""
    migration.enter(State.STOP_AND_COPY)
    did = f"read {size} bytes at {offset} of the struct"
    with unchanged(lambda: (migration.state, migration.pending_bytes), did=did):
        expect_misfit(lambda: migration.region.read(offset, size), did)


@pytest.mark.rule("access.other-width")
@pytest.mark.parametrize(("offset", "size"), named(MISFITS))
def test_misfit_write(migration: MigrationRegion, offset: int, size: int) -> None:
    """Write zeros to what is not exactly one field: an error, the state stays."""
    did = f"write {size} bytes at {offset} of the struct"
    with unchanged(migration.snapshot, did=did, what="the struct"):
        expect_misfit(lambda: migration.region.write(offset, bytes(size)), did)


@pytest.mark.rule("access.other-width")
@pytest.mark.parametrize("size", [1, 4])
def test_misfit_write_takes_no_data(client: Client, stream: list[bytes], size: int) -> None:
    """Write a part of data_size while resuming: an error, the data is not taken."""
    migration = client.migration
    migration.enter(State.RESUMING)
    value = len(stream[0]).to_bytes(8, "little")[:size]
    did = f"write {size} bytes of data_size"
    expect_misfit(lambda: migration.region.write(DATA_SIZE.offset, value), did)
    with expect_success(did=f"{did}, give the whole stream, and run"):
        client.write_all(stream)
        migration.set_state(State.RUNNING)


@pytest.mark.rule("access.reserved")
@pytest.mark.parametrize("state", by_state())
def test_reserved_ignores_writes(reach: Reach, state: State) -> None:
    """Write all ones to reserved: the write succeeds, it reads as zero and the state stays."""
    migration = reach(state)
    with expect_success(did="write 0xffffffff to reserved"):
        migration.write_field(RESERVED, 0xFFFFFFFF)
    expect_equal(migration.snapshot(), (state, 0), did="read device_state and reserved after that")


@pytest.mark.rule("access.read-only")
@pytest.mark.parametrize("value", [0, 1, 0x1000, (1 << 64) - 1])
def test_pending_cannot_be_written(migration: MigrationRegion, value: int) -> None:
    """Write pending_bytes while something pends: an error or ignored, it reads as before."""
    migration.enter(State.STOP_AND_COPY)
    with unchanged(lambda: migration.pending_bytes, did=f"write {value:#x} to pending_bytes"):
        write_tolerantly(migration, PENDING_BYTES, value)


@pytest.mark.rule("access.read-only")
@pytest.mark.usefixtures("iteration")
@pytest.mark.parametrize("value", [0, 32, 0x1008, (1 << 64) - 1])
def test_offset_cannot_be_written(migration: MigrationRegion, value: int) -> None:
    """Write data_offset in an iteration: an error or ignored, it reads as before."""
    with unchanged(lambda: migration.data_offset, did=f"write {value:#x} to data_offset"):
        write_tolerantly(migration, DATA_OFFSET, value)


@pytest.mark.rule("access.read-only")
@pytest.mark.parametrize("value", [0, 0x1008, (1 << 64) - 1])
@pytest.mark.parametrize("state", by_state((State.STOP_AND_COPY, State.PRE_COPY)))
def test_offset_is_written_all_through_a_save(client: Client, state: State, value: int) -> None:
    """Write data_offset before and after each read of it, in a whole save: the stream is whole."""
    migration = client.migration
    migration.enter(state)
    stream = read_writing(client, value)
    if state is State.PRE_COPY:
        migration.enter(State.STOP_AND_COPY)
        stream += read_writing(client, value)
    migration.enter(State.RUNNING)
    expect_whole(client, stream, did=f"write {value:#x} to data_offset all through a save")


def read_writing(client: Client, value: int) -> list[bytes]:
    """Take all buffers, and write data_offset wherever one could."""
    migration, stream = client.migration, []
    while migration.pending_bytes:
        write_tolerantly(migration, DATA_OFFSET, value)
        window = client.read_window()
        write_tolerantly(migration, DATA_OFFSET, value)
        stream.append(migration.region.read_exact(*window))
        write_tolerantly(migration, DATA_OFFSET, value)
    return stream


@pytest.mark.rule("access.read-only")
@pytest.mark.parametrize("value", [0, 0x1008, (1 << 64) - 1])
def test_offset_of_resuming_cannot_be_written(resuming: MigrationRegion, value: int) -> None:
    """Write data_offset while resuming: an error or ignored, it reads as before."""
    with unchanged(lambda: resuming.data_offset, did=f"write {value:#x} to data_offset"):
        write_tolerantly(resuming, DATA_OFFSET, value)


def write_tolerantly(migration: MigrationRegion, field: Field, value: int) -> None:
    """Write a field that may refuse it; a count that is not the field's width is a failure."""
    try:
        moved = migration.region.write(field.offset, value.to_bytes(field.width, "little"))
    except OSError:
        return
    expect_equal(moved, field.width, did=f"write {field.name}")
