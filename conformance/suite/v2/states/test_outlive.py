# SPDX-License-Identifier: GPL-2.0-only
"""What outlives user or binding. Alone: about the whole module, or a risk for the kernel."""

from collections.abc import Callable

import pytest

from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_success, expect_true
from conformance.plugin.devices import Devices
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.binding import driver_of, unbound
from conformance.suite.v2.cases import by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import expect_dead, expect_whole, open_again, state_of
from conformance.vfio import features
from conformance.vfio.children.children import Child
from conformance.vfio.device import Device
from conformance.vfio.system import sysfs

SESSIONS = by_state((State.STOP_COPY, State.PRE_COPY, State.PRE_COPY_P2P, State.RESUMING))

pytestmark = pytest.mark.alone


def users_of(device: Device) -> int:
    """Return how many users the module of a device's driver has; leaves the test if unknown."""
    module = sysfs.module(sysfs.driver(device.bdf) or "")
    users = sysfs.users(module) if module else None
    return not_applicable("the driver is no module") if users is None else users


@pytest.mark.rule("open2.killed")
@pytest.mark.parametrize("state", SESSIONS)
def test_a_dead_user_does_not_hold_the_module(
    reach: Reach, client: Client, child: Callable[[], Child], state: State
) -> None:
    """Kill the last user of a session: the module has no user more than before the open."""
    device = client.device
    device.close()
    before = users_of(device)
    device.reopen()
    reach(state)
    other = child()
    client.close()
    device.close()
    other.kill()
    expect_equal(users_of(device), before, did=f"killed in {state.name}, count the module's users")


@pytest.mark.rule("open2.outlived")
@pytest.mark.parametrize("state", SESSIONS)
def test_file_outlives_the_binding(
    devices: Devices, reach: Reach, client: Client, state: State
) -> None:
    """Keep a data_fd, take the function from its driver, give it back: dead, the device whole."""
    bdf = client.device.bdf
    driver = driver_of(devices, bdf)
    kept = reach(state).session.duplicate()
    client.close()
    devices.close()
    with unbound(bdf, driver):
        expect_dead(kept, did="unbind the function")
    expect_dead(kept, did="bind the function again")
    with expect_success(did="close the data_fd after all that"):
        kept.close()
    with Client(devices.ready("device")) as anew:
        expect_whole(anew, anew.save(), did="keep a data_fd over unbinding, save")


@pytest.mark.fatal("stale-write")
@pytest.mark.rule("data.stale")
@pytest.mark.parametrize("how", ["set", "reset", "close"])
def test_write_after_the_end(reach: Reach, client: Client, how: str) -> None:
    """Write to the data_fd of a load that was left, reset or closed: no data is taken."""
    file = reach(State.RESUMING).session.duplicate()
    ends = {"set": lambda: client.set(State.RUNNING), "reset": client.device.reset}
    ends.get(how, lambda: open_again(client))()
    expect_dead(file, did=f"end a load by {how}")
    file.close()


@pytest.mark.fatal("first-set")
@pytest.mark.rule("error.clean")
@pytest.mark.parametrize("state", SESSIONS)
def test_first_set_after_an_open(reach: Reach, client: Client, state: State) -> None:
    """Leave the device in a session, open it, SET STOP without a look: no fault of the kernel."""
    reach(state)
    client.close()
    client.device.reopen()
    with expect_success(did=f"close in {state.name}, open, GET"):
        features.get_state(client.device)
    client.attempt(State.STOP)
    client.device.reset()
    expect_equal(state_of(client), State.RUNNING, did="SET STOP after an open, then reset")


@pytest.mark.rule("open2.module")
@pytest.mark.parametrize("state", SESSIONS)
def test_file_holds_a_module(reach: Reach, client: Client, state: State) -> None:
    """Keep a data_fd when its session has ended, then close it: a module has a user until then."""
    users_of(client.device)
    before = sysfs.users_of_all()
    kept = reach(state).session.duplicate()
    client.set(State.RUNNING)
    client.close()
    held = sysfs.users_of_all()
    kept.close()
    did = f"leave {state.name}, count the users of all modules"
    expect_true(held > before, did=did, expected=f"above {before}", actual=str(held))
    expect_equal(sysfs.users_of_all(), before, did=f"{did}, close its data_fd, count again")
