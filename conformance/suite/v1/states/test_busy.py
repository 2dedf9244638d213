# SPDX-License-Identifier: GPL-2.0-only
"""A device that does not come to rest in time: it goes on, and can be stopped later."""

import pytest

from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success
from conformance.plugin.declared import Busy
from conformance.plugin.devices import Devices
from conformance.suite.conftest import Find
from conformance.suite.support.cases import named
from conformance.suite.support.life import Life
from conformance.vfio.device import Device

pytestmark = pytest.mark.usefixtures("busy")  # before all that has to be set up

#: Ways out of _RUNNING: where the device is, and what is written.
WAYS = {"1-0": (1, 0), "1-2": (1, 2), "1-4": (1, 4), "3-2": (3, 2)}
OUT = named({name: (way,) for name, way in WAYS.items()})


@pytest.fixture
def busy(devices: Devices, device: Device) -> Busy:
    """Return what keeps the device busy."""
    for found in devices.busies_of(device):
        return found
    pytest.skip("nothing is known that keeps this device from coming to rest: give --vfio-busy")


def be_refused(migration: MigrationRegion, busy: Busy, old: int, new: int) -> str:
    """Write a state of a busy device, which must be refused; return the words for it."""
    __tracebackhide__ = True
    migration.enter(*(() if old == State.RUNNING else (old,)))
    busy.write()
    did = f"keep the device busy, write {new} in state {old}"
    with expect_errno(did=did):
        migration.set_state(new)
    expect_equal(migration.state, old, did=f"{did}, read it")
    return did


@pytest.mark.rule("state.busy")
@pytest.mark.parametrize("way", OUT)
def test_goes_on(life: Life, migration: MigrationRegion, busy: Busy, way: tuple[int, int]) -> None:
    """Stop a device that is busy: refused, the state is the old one, and the device works."""
    did = be_refused(migration, busy, *way)
    life.expect_works(did)


@pytest.mark.rule("state.busy")
@pytest.mark.parametrize("way", OUT)
def test_stops_later(
    life: Life, migration: MigrationRegion, busy: Busy, way: tuple[int, int]
) -> None:
    """Be refused to stop a busy device, write the state again: it is taken, and it stands."""
    did = be_refused(migration, busy, *way)
    with expect_success(did=f"{did}, again"):
        migration.set_state(way[1])
    life.expect_stands(f"{did}, again")


@pytest.mark.rule("state.busy")
@pytest.mark.usefixtures("life")
def test_saving_has_not_begun(migration: MigrationRegion, busy: Busy, window: Find) -> None:
    """Be refused to save a busy device: what conflicts with saving can be mapped."""
    did = be_refused(migration, busy, State.RUNNING, State.STOP_AND_COPY)
    with expect_success(did=f"{did}, map a page outside the saving areas"):
        window("C").map().close()
