# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures: the device in a known state, its regions, clients, helpers.

The device stays open from test to test, because an open resets the function, which takes 0.1 s or
more. Before a test it is brought to _RUNNING: a migration is abandoned, or the device is reset, or
opened again. After a test that failed, or left mappings or child processes behind, it is opened
again; after one that failed it is reset, too. Use ``device.reopen()`` where the open matters.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from conformance.migration.saver import Saver
from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.saver import RegionSaver
from conformance.migration.v1.vmm import Vmm
from conformance.migration.v2.saver import FeatureSaver
from conformance.plugin.declared import Doorbell, Place, Scratch
from conformance.plugin.devices import Devices, Observe, devices_of
from conformance.vfio.children.children import Child, fork_child
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.region import Region


@dataclass(frozen=True)
class Side:
    """One of the two functions of a migration, with everything a test needs of it."""

    device: Device
    migration: MigrationRegion

    def vmm(self, how: str | None = None) -> Vmm:
        """Return a fresh client of the monitor's kind."""
        return Vmm(self.migration, how=how)

    def client(self, how: str = "bulk") -> Client:
        """Return a client for single steps."""
        return Client(self.migration, how=how)


@pytest.fixture
def devices(request: pytest.FixtureRequest) -> Iterator[Devices]:
    """Provide everything that stays open over the session; tests rarely need it by itself."""
    devices = devices_of(request.config)
    yield devices
    failed = getattr(request.node, "vfio_failed", False)
    devices.after_test(failed=failed)


@pytest.fixture
def container(devices: Devices) -> Container:
    """Return the container in which the devices' groups are."""
    return devices.container


@pytest.fixture
def device(devices: Devices) -> Device:
    """Return the device under test, open and in _RUNNING, with nothing mapped."""
    return devices.ready("device")


@pytest.fixture
def peer(devices: Devices) -> Device:
    """Return the second function, open and in _RUNNING; skips without --vfio-peer."""
    if not devices.has_peer:
        pytest.skip("this needs a second function of the same kind: give --vfio-peer BDF")
    return devices.ready("peer")


@pytest.fixture
def migration(device: Device, devices: Devices) -> MigrationRegion:
    """Return the migration region of the device."""
    return devices.migration_of(device)


def saver_of(devices: Devices, device: Device) -> Saver:
    """Return what saves and resumes a device, by the protocol that the session judges."""
    if devices.protocol == 1:
        return RegionSaver(devices.migration_of(device))
    return FeatureSaver(device)


@pytest.fixture
def saver(device: Device, devices: Devices) -> Iterator[Saver]:
    """Provide what saves and resumes the device, by the protocol that the session judges."""
    with closing(saver_of(devices, device)) as made:
        yield made


@pytest.fixture
def peer_saver(peer: Device, devices: Devices) -> Iterator[Saver]:
    """Provide what saves and resumes the second function."""
    with closing(saver_of(devices, peer)) as made:
        yield made


@pytest.fixture
def peer_migration(peer: Device, devices: Devices) -> MigrationRegion:
    """Return the migration region of the second function."""
    return devices.migration_of(peer)


@pytest.fixture
def source(device: Device, migration: MigrationRegion) -> Side:
    """Return the device as the source of a migration."""
    return Side(device, migration)


@pytest.fixture
def destination(peer: Device, peer_migration: MigrationRegion) -> Side:
    """Return the second function as the destination of a migration."""
    return Side(peer, peer_migration)


@pytest.fixture
def vmm(migration: MigrationRegion) -> Iterator[Vmm]:
    """Provide a client that drives the device as the virtual machine monitor did."""
    vmm = Vmm(migration)
    yield vmm
    vmm.finish()


@pytest.fixture
def client(migration: MigrationRegion) -> Client:
    """Return a client for single steps, which moves data in bulk."""
    return Client(migration)


@pytest.fixture
def mappable_regions(device: Device) -> list[Region]:
    """Return the regions, but for the migration region, of which something can be mapped."""
    migration_type = [r for r in device.regions if r.type]
    regions = [r for r in device.regions if r.runtime_areas and r not in migration_type]
    if not regions:
        pytest.skip("no region of this device can be mapped")
    return regions


@pytest.fixture
def saving_regions(device: Device) -> list[Region]:
    """Return the regions with the saving layout (capability 6); skips if there is none."""
    regions = [region for region in device.regions if region.saving]
    if not regions:
        pytest.skip("no region has VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING (capability 6)")
    return regions


@pytest.fixture
def conflicting_regions(saving_regions: list[Region]) -> list[Region]:
    """Return the regions that can be mapped at run time where they cannot while saving."""
    regions = [region for region in saving_regions if region.conflicting_areas]
    if not regions:
        pytest.skip("no region can be mapped at run time but not while saving")
    return regions


@pytest.fixture
def scratch(devices: Devices, device: Device) -> Iterator[list[Scratch]]:
    """Provide registers that tests may write (--vfio-scratch); their values are restored."""
    places = devices.scratch_of(device)
    if not places:
        pytest.skip("no register may be written: give --vfio-scratch BAR:OFFSET:MASK")
    before = [place.read() for place in places]
    yield places
    for place, value in zip(places, before, strict=True):
        place.write(value)


@pytest.fixture
def volatile(devices: Devices) -> tuple[Place, ...]:
    """Return the registers that change by themselves (--vfio-volatile)."""
    return devices.settings.volatile


@pytest.fixture
def trapped(devices: Devices) -> tuple[Place, ...]:
    """Return the registers whose writes the driver must see while it saves (--vfio-trapped)."""
    if not devices.settings.trapped:
        pytest.skip("no register is known to be trapped: give --vfio-trapped BAR:OFFSET")
    return devices.settings.trapped


@pytest.fixture
def doorbells(devices: Devices, device: Device) -> list[Doorbell]:
    """Return registers that make the device write to memory (--vfio-doorbell); skips if none."""
    found = devices.doorbells_of(device)
    if not found:
        pytest.skip(
            "nothing is known that makes this device write to memory: give "
            "--vfio-doorbell BAR:OFFSET:ADDRESS"
        )
    return found


@pytest.fixture
def child() -> Iterator[Callable[[], Child]]:
    """``child()``: fork a process that executes calls; all are killed after the test."""
    made: list[Child] = []

    def make() -> Child:
        made.append(fork_child())
        return made[-1]

    yield make
    for process in made:
        process.close()


@pytest.fixture
def observe(request: pytest.FixtureRequest) -> Observe:
    """``observe(rule, outcome)``: record the outcome of a FREE rule."""
    return devices_of(request.config).observer(request.node)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return the session's seed (--vfio-seed), which is printed and makes a run repeatable."""
    return devices_of(request.config).seed


@pytest.fixture
def rng(request: pytest.FixtureRequest, seed: int) -> random.Random:
    """Return a random generator of the test's own, the same for the same seed and test."""
    return random.Random(f"{seed} {request.node.name}")  # noqa: S311 - repeatable on purpose
