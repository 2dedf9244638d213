# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the suite alone; the ones about devices are in :mod:`conformance.plugin.fixtures`."""

from collections.abc import Callable, Iterator

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.devices import Devices, Scratch
from conformance.plugin.protocols import not_applicable
from conformance.plugin.workers import runs_alone
from conformance.suite.support.life import Life, signs_of_life
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.windows import Window, find
from conformance.vfio import resets
from conformance.vfio.children.children import Child
from conformance.vfio.device import Device
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.region import Region

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


@pytest.fixture
def life(devices: Devices, device: Device) -> Iterator[Life]:
    """Provide what shows whether the device works or stands; skips if nothing does."""
    with signs_of_life(device, devices) as found:
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
