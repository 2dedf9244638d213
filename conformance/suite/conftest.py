# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the suite alone; the ones about devices are in :mod:`conformance.plugin.fixtures`."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.declared import Scratch, TriggerPlace
from conformance.plugin.devices import Devices
from conformance.plugin.protocols import not_applicable
from conformance.plugin.workers import runs_alone
from conformance.suite.support.life import Life, Movements, signs_of_life
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.receiving import FIRST_UNNAMED, traffic_of
from conformance.suite.support.windows import Window, find
from conformance.vfio.children.children import Child
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import LoggedMemory
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.pci import resets
from conformance.vfio.pci.config import Config
from conformance.vfio.pci.interrupts import Vectors
from conformance.vfio.receiving.choose import receiver_of
from conformance.vfio.receiving.receiver import Receiver
from conformance.vfio.region import Region
from conformance.vfio.system import sysfs

Find = Callable[..., Window]

WALKS = 10
"""Random walks of one test; they take a few seconds."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put last what runs alone, and behind it that of which this driver is known to die."""
    fatal = set(config.getoption("--vfio-fatal"))
    items.sort(key=lambda item: (runs_alone(item), bool(fatal & requests_of(item))))


def requests_of(item: pytest.Item) -> set[str]:
    """Return the requests of which drivers have died that a test is about."""
    return {name for marker in item.iter_markers("fatal") for name in marker.args}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Part random walks (--vfio-walks) into tests of some each: one that takes long looks hung."""
    if "walks" in metafunc.fixturenames:
        wanted = int(metafunc.config.getoption("--vfio-walks"))
        parts = [min(WALKS, wanted - done) for done in range(0, wanted, WALKS)]
        numbered = list(enumerate(parts))
        metafunc.parametrize(("part", "walks"), numbered, ids=[f"part-{n}" for n, _ in numbered])


@pytest.fixture(scope="session")
def movements() -> Movements:
    """Keep which registers move by themselves."""
    return {}


@pytest.fixture
def life(devices: Devices, device: Device, movements: Movements) -> Iterator[Life]:
    """Provide what shows whether the device works or stands; skips if nothing does."""
    with signs_of_life(device, devices, movements) as found:
        if found.lacking:
            pytest.skip(found.lacking)
        yield found


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
    saver: Saver, saving_regions: list[Region], child: Callable[[], Child]
) -> Iterator[Mappings]:
    """Provide mappings that the oracle follows; all are unmapped at the end."""
    with Mappings(saver, saving_regions, child) as made:
        yield made


@pytest.fixture
def triggers(devices: Devices) -> tuple[TriggerPlace, ...]:
    """Return what raises an interrupt; skips, before anything is set up, if nothing is known."""
    if not devices.settings.triggers:
        pytest.skip("nothing is known that raises an interrupt: give --vfio-trigger")
    return devices.settings.triggers


@pytest.fixture
def vectors(triggers: tuple[TriggerPlace, ...], life: Life) -> Vectors:
    """Return the vectors of a device of which it is known what raises an interrupt."""
    assert life.vectors, triggers
    return life.vectors


@pytest.fixture
def memory(container: Container, device: Device) -> Iterator[LoggedMemory]:
    """Provide memory to write to, and log which of its pages are dirty; none is at first."""
    device.reset()  # it may still be about to write for the test before
    with closing(LoggedMemory(container)) as made:
        container.start_dirty_log()
        made.dirty()
        yield made
        with suppress(OSError):
            container.stop_dirty_log()


def need(saver: Saver, stage: Stage) -> None:
    """Leave the test if the device does not have a stage."""
    if not saver.offers(stage):
        not_applicable(f"this device has no {stage.value}")


@pytest.fixture
def stage(request: pytest.FixtureRequest, saver: Saver) -> Stage:
    """Return the stage of a parametrized test, if the device has it."""
    wanted: Stage = request.param
    need(saver, wanted)
    return wanted


@pytest.fixture(params=resets.WAYS)
def way(request: pytest.FixtureRequest, device: Device) -> str:
    """Give each way in which the device can be reset."""
    name = str(request.param)
    if lacking := resets.lacking(device, name):
        pytest.skip(lacking)
    return name


@pytest.fixture
def space(device: Device) -> Config:
    """Return the config space of a PCI function."""
    if not sysfs.is_pci(device.bdf):
        not_applicable("this is not a PCI function")
    return Config(device)


@pytest.fixture
def apart(devices: Devices) -> Iterator[None]:
    """Have the device be the container's only one; to be used before it is opened.

    A group that pins no pages makes the kernel report every page, and one that has pinned some
    reports no others until it leaves the container. So nothing stays open from other tests, or for
    them.
    """
    traffic_of(devices.ready("device"), devices.settings.packets)
    devices.close()
    yield
    devices.close()


@pytest.fixture
def receiver(
    saver: Saver, device: Device, memory: LoggedMemory, devices: Devices
) -> Iterator[Receiver]:
    """Provide a queue that is set up and has no buffers, and log which pages are dirty."""
    need(saver, Stage.PRE_COPY)
    traffic = traffic_of(device, devices.settings.packets)
    made = receiver_of(device, memory, traffic, FIRST_UNNAMED)
    made.start()
    yield made
    saver.attempt(Stage.RUNNING)
    made.stop()
