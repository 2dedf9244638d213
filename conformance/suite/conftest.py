# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the suite alone; the ones about devices are in :mod:`conformance.plugin.fixtures`."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from conformance.migration.errors import MigrationError
from conformance.migration.v1.client import Buffer, Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1 import states
from conformance.model.v1.states import State
from conformance.plugin.devices import Devices, Scratch
from conformance.plugin.fixtures import Side
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.steps import attempt, begin_iteration, save_and_run
from conformance.suite.support.walker import WALKS, Walker
from conformance.suite.support.windows import Window, find
from conformance.vfio.children.children import Child
from conformance.vfio.device import Device
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.mapping import Mapping
from conformance.vfio.region import Region

Reach = Callable[[State], MigrationRegion]
Find = Callable[..., Window]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the look for lost memory last: it is about all tests."""
    items.sort(key=lambda item: item.path.name == "test_leaks.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Part random walks (--vfio-walks) into tests of some each: one that takes long looks hung."""
    if "walks" in metafunc.fixturenames:
        wanted = int(metafunc.config.getoption("--vfio-walks"))
        parts = [min(WALKS, wanted - done) for done in range(0, wanted, WALKS)]
        numbered = list(enumerate(parts))
        metafunc.parametrize(("part", "walks"), numbered, ids=[f"part-{n}" for n, _ in numbered])


@pytest.fixture
def reach(client: Client) -> Reach:
    """``reach(state)``: bring the running device to a state, with what belongs to it.

    In state 4 a whole stream of its own has been given, so that it can be left for 1. The error
    state is reached by a stream that must be refused; a device which never shows it skips.
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
def scratch_there(devices: Devices, peer: Device, scratch: list[Scratch]) -> list[Scratch]:
    """Find the second function's copies of the registers that may be written."""
    assert scratch
    return devices.scratch_of(peer)


@pytest.fixture
def window(conflicting_regions: list[Region]) -> Find:
    """``window(pattern, ...)``: the first range of a region that looks like a pattern.

    One letter a page: C conflicts with saving, f does not. Skips if there is no such range.
    """

    def search(*patterns: str) -> Window:
        found = find(conflicting_regions, *patterns)
        if found is None:
            pytest.skip(f"no mappable range of the pattern {' or '.join(patterns)}")
        return found

    return search


@pytest.fixture
def conflict(window: Find) -> Iterator[Mapping]:
    """Hold a mapping of one page outside the saving areas until the test ends."""
    with window("C").map() as mapping:
        yield mapping


@pytest.fixture
def mappings(
    migration: MigrationRegion, saving_regions: list[Region], child: Callable[[], Child]
) -> Iterator[Mappings]:
    """Provide mappings that the oracle follows; all are unmapped at the end."""
    with Mappings(migration, saving_regions, child) as made:
        yield made


@pytest.fixture
def walker(devices: Devices, device: Device, migration: MigrationRegion) -> Iterator[Walker]:
    """Provide what takes the steps of a walk; what it has mapped is unmapped in the end."""
    regions = [region for region in device.regions if region.runtime_areas and not region.type]
    made = Walker(migration, regions, devices.scratch_of(device))
    yield made
    made.end()
