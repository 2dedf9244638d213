# SPDX-License-Identifier: GPL-2.0-only
"""When a state takes effect, and that it stays."""

import contextlib
import time
from collections.abc import Callable

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.region import DATA_OFFSET, DATA_SIZE, PENDING_BYTES, MigrationRegion
from conformance.model.v1 import states
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_true
from conformance.plugin.declared import Doorbell, Place, Scratch
from conformance.plugin.fixtures import Side
from conformance.suite.support.cases import named
from conformance.suite.support.registers import moving_registers, registers_of
from conformance.suite.support.steps import set_apart
from conformance.suite.support.underway import expect_ended, write_under_way
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import attempt, expect_whole, save_and_run
from conformance.vfio.device import Device
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.iommu.container import Container

#: Seconds in which a device that still moves would show it.
WHILE = 0.02


@pytest.mark.rule("state.synchronous")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.STOP_AND_COPY)))
def test_stopped_device_does_not_move(
    reach: Reach, device: Device, volatile: tuple[Place, ...], state: State
) -> None:
    """Stop the device, read its registers twice: none of them moves by itself."""
    reach(state)
    moved = moving_registers(device, WHILE, volatile)
    expect_equal(moved, [], did=f"read all registers twice in state {state:d}")


@pytest.mark.rule("state.synchronous")
@pytest.mark.usefixtures("stream")
def test_data_is_there_at_once(client: Client) -> None:
    """Enter stop-and-copy: the first read has all that is pending, and the number stays."""
    client.migration.set_state(State.STOP_AND_COPY)
    pending = [client.migration.pending_bytes for _ in range(3)]
    expect_true(pending[0], did="read pending_bytes at once", expected="not 0", actual="0")
    expect_equal(pending, pending[:1] * 3, did="read pending_bytes three times in stop-and-copy")
    now = client.read_all()
    client.migration.set_state(State.RUNNING)
    expect_whole(client, now, did="enter stop-and-copy, save at once")


@pytest.mark.rule("state.synchronous")
def test_registers_are_there_at_once(source: Side, scratch: list[Scratch]) -> None:
    """Stop and run, read the registers as soon as write() returns: each has its value."""
    written = set_apart(scratch, 0xA5A5A5A5)
    source.migration.enter(State.STOPPED, State.RUNNING)
    now = [place.read() for place in scratch]
    expect_equal(now, written, did="write registers, 1->0->1, read them")


@pytest.mark.rule("state.synchronous")
def test_resumed_at_once(source: Side, scratch: list[Scratch]) -> None:
    """Save, change the registers, resume: when write() returns they have the saved values."""
    saved = set_apart(scratch, 0x5A5A5A5A)
    stream = save_and_run(source.client())
    set_apart(scratch, 0x05060708)
    source.client().resume(stream)
    now = [place.read() for place in scratch]
    expect_equal(now, saved, did="save, change registers, resume, read them")


@pytest.mark.rule("state.synchronous")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.STOP_AND_COPY)))
def test_write_under_way_ends(
    migration: MigrationRegion, container: Container, doorbells: list[Doorbell], state: State
) -> None:
    """Stop the device while it writes to memory that is late: when write() returns, it has."""
    with write_under_way(migration.device, container, doorbells[0]) as late:
        migration.set_state(state)
        expect_ended(late, did=f"write {state:d}")


def _read_all_fields(migration: MigrationRegion) -> None:
    for field in (PENDING_BYTES, DATA_OFFSET, DATA_SIZE):
        with contextlib.suppress(OSError, ShortTransfer):
            migration.read_field(field)


def _use_region_information(migration: MigrationRegion) -> None:
    for region in migration.device.regions:
        migration.device.region_info(region.index)


def _map_and_unmap(migration: MigrationRegion) -> None:
    for area in migration.data_areas:
        migration.region.map_area(area).close()


def _open_again(migration: MigrationRegion) -> None:
    migration.device.open_again().close()


def _write_nonsense(migration: MigrationRegion) -> None:
    attempt(migration, 0xFFFFFFFF)
    with contextlib.suppress(OSError):
        migration.region.write(migration.size, b"\0")


DOINGS = {
    "registers": lambda migration: registers_of(migration.device),
    "fields": _read_all_fields,
    "information": _use_region_information,
    "mapping": _map_and_unmap,
    "second-open": _open_again,
    "refused-writes": _write_nonsense,
}


@pytest.mark.rule("state.no-spontaneous")
@pytest.mark.parametrize("state", by_state((*states.WORKING, State.ERROR)))
def test_state_stays_over_time(reach: Reach, state: State) -> None:
    """Wait in a state: it stays."""
    migration = reach(state)
    time.sleep(WHILE)
    seen = {migration.state for _ in range(3)}
    expect_equal(seen, {int(state)}, did=f"wait in state {state:d}, read device_state")


@pytest.mark.rule("state.no-spontaneous")
@pytest.mark.parametrize("state", by_state((State.STOP_AND_COPY, State.PRE_COPY)))
def test_state_stays_when_all_was_read(reach: Reach, client: Client, state: State) -> None:
    """Read all that a saving device has to say: the state stays."""
    migration = reach(state)
    client.read_all()
    migration.read_field(PENDING_BYTES)
    expect_equal(migration.state, state, did=f"read all in state {state:d}, read device_state")


@pytest.mark.rule("state.no-spontaneous")
@pytest.mark.parametrize("doing", named(DOINGS))
@pytest.mark.parametrize("state", by_state())
def test_state_stays(reach: Reach, state: State, doing: Callable[[MigrationRegion], None]) -> None:
    """Do anything but write a state or reset: the state stays."""
    migration = reach(state)
    doing(migration)
    expect_equal(migration.state, state, did=f"read device_state after that in state {state:d}")
