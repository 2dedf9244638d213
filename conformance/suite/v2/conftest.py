# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of version 2."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.migration.v2.vmm import Vmm
from conformance.model.v2.fsm import State
from conformance.plugin.devices import Devices
from conformance.suite.v2.steps import SPARED
from conformance.suite.v2.steps import reach as go_to
from conformance.suite.v2.walks.walker import Walker
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import GuestMemory

Reach = Callable[[State], Client]


@pytest.fixture(autouse=True)
def spared(request: pytest.FixtureRequest, devices: Devices) -> Iterator[None]:
    """Have the steps skip what kills the kernel, but in the test that is about it."""
    made = {name for marker in request.node.iter_markers("fatal") for name in marker.args}
    SPARED.update(set(devices.settings.fatal) - made)
    yield
    SPARED.clear()


@pytest.fixture
def client(device: Device) -> Iterator[Client]:
    """Provide a client for single steps of the running device; its files are closed at the end."""
    with Client(device) as client:
        yield client


@pytest.fixture
def reach(client: Client) -> Reach:
    """``reach(state)``: bring the running device to a state, with what belongs to it."""
    return lambda state: go_to(client, state)


@pytest.fixture
def stream(client: Client) -> Stream:
    """Save the device in STOP_COPY and let it run on; skips if it has nothing to say."""
    saved = client.save()
    client.close()
    if not saved:
        pytest.skip("this device has no state to migrate")
    return saved


@pytest.fixture
def guest_memory(client: Client, container: Container) -> Iterator[GuestMemory]:
    """Map memory for the device."""
    assert client
    with closing(GuestMemory(container)) as memory:
        yield memory


@pytest.fixture
def vmm(device: Device) -> Iterator[Vmm]:
    """Provide a client that drives the device as a virtual machine monitor does."""
    vmm = Vmm(device)
    yield vmm
    vmm.close()


@pytest.fixture
def walker(devices: Devices, device: Device, client: Client) -> Iterator[Walker]:
    """Provide what takes the steps of a walk; what it has mapped is unmapped in the end."""
    regions = [region for region in device.regions if region.runtime_areas and not region.type]
    made = Walker(client, regions, devices.scratch_of(device))
    yield made
    made.leave()
