# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of version 1."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from conformance.migration.errors import MigrationError
from conformance.migration.v1.client import Buffer, Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1 import states
from conformance.model.v1.states import State
from conformance.plugin.devices import Devices
from conformance.plugin.fixtures import Side
from conformance.suite.v1.steps import attempt, begin_iteration, save_and_run
from conformance.suite.v1.walks.walker import Walker
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.pci import config
from conformance.vfio.pci.config import Config

Reach = Callable[[State], MigrationRegion]


@pytest.fixture
def reach(client: Client) -> Reach:
    """``reach(state)``: bring the running device to a state, with what belongs to it.

    In state 4 a whole stream of its own has been given, so that it can be left for 1. The error
    state is reached by a stream that must be refused; a device that never shows it skips.
    """

    def go(state: State) -> MigrationRegion:
        migration = client.migration
        if state is State.RESUMING:
            stream = save_and_run(client)
            migration.enter(State.RESUMING)
            client.write_all(stream)
        elif state is State.ERROR:
            _fail_to_resume(client)
        else:
            migration.enter(*states.route(state))
        return migration

    return go


def _fail_to_resume(client: Client) -> None:
    migration = client.migration
    migration.enter(State.RESUMING)
    refused = attempt(migration, State.RUNNING)
    if refused is None:
        pytest.skip("this device has no state to migrate: it runs after nothing was sent")
    if migration.state != State.ERROR:
        pytest.skip("this device does not show the error state after a failed resume")


@pytest.fixture
def space(device: Device) -> Config:
    """Return the config space of the device."""
    return Config(device)


@pytest.fixture
def stream(client: Client) -> list[bytes]:
    """Save the device in stop-and-copy and let it run on; skips if it has nothing to say."""
    saved = save_and_run(client)
    if not saved:
        pytest.skip("this device has no state to migrate")
    return saved


@pytest.fixture
def live_stream(client: Client) -> list[bytes]:
    """Save the device with pre-copy and let it run on; skips if it has nothing to say."""
    saved = client.save_live()
    client.migration.set_state(State.RUNNING)
    if not saved:
        pytest.skip("this device has no state to migrate")
    return saved


@pytest.fixture
def iteration(client: Client, stream: list[bytes]) -> Buffer:
    """Enter stop-and-copy, begin the first iteration and read its data; skips if none comes."""
    assert stream
    client.migration.set_state(State.STOP_AND_COPY)
    return begin_iteration(client)


@pytest.fixture
def resuming(client: Client, stream: list[bytes]) -> Iterator[MigrationRegion]:
    """Enter the state of resuming; after the test the device gets a whole stream and runs.

    That leaves the state without a reset, which takes a hundred times as long.
    """
    client.migration.enter(State.RESUMING)
    yield client.migration
    with contextlib.suppress(OSError, ShortTransfer, MigrationError):
        if client.migration.state == State.RESUMING:
            client.write_all(stream)
            client.migration.set_state(State.RUNNING)


@pytest.fixture
def sides(source: Side, destination: Side) -> tuple[Side, Side]:
    """Give source and destination of a migration."""
    return source, destination


@pytest.fixture
def walker(devices: Devices, device: Device, migration: MigrationRegion) -> Iterator[Walker]:
    """Provide what takes the steps of a walk; what it has mapped is unmapped in the end."""
    regions = [region for region in device.regions if region.runtime_areas and not region.type]
    space = Config(device)
    with trace.quiet():
        space.set_command(on=config.MEMORY)
    made = Walker(migration, regions, devices.scratch_of(device), space)
    yield made
    made.leave()
