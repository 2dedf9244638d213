# SPDX-License-Identifier: GPL-2.0-only
"""Reset, open and close, users that die, and sessions that outlive them."""

import contextlib
from collections.abc import Callable

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.plugin.protocols import not_applicable
from conformance.suite.v2.cases import WORKING, by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import expect_dead, expect_whole, in_time, open_again, state_of
from conformance.vfio import features
from conformance.vfio.children.children import Child
from conformance.vfio.device import Device
from conformance.vfio.pci import resets

BEFORE_A_SAVE = (State.RUNNING, State.STOP, State.STOP_COPY, State.PRE_COPY)
EVERY = by_state((State.ERROR, *WORKING))
SESSIONS = by_state((State.STOP_COPY, State.RESUMING, State.PRE_COPY, State.PRE_COPY_P2P))


@pytest.mark.rule("reset2.running")
@pytest.mark.parametrize("state", EVERY)
def test_reset(reach: Reach, client: Client, state: State) -> None:
    """Reset in each state: RUNNING, and the device can be saved and loaded."""
    reach(state)
    with in_time(f"reset in {state.name}"), expect_success(did=f"reset in {state.name}"):
        client.device.reset()
    expect_equal(state_of(client), State.RUNNING, did=f"reset in {state.name}, then GET")
    expect_whole(client, client.save(), did=f"reset in {state.name}, save")


@pytest.mark.rule("reset2.ends-session")
@pytest.mark.parametrize("state", SESSIONS)
def test_reset_ends_the_session(reach: Reach, client: Client, state: State) -> None:
    """Reset in the middle of a session: its data_fd is dead, the next session is whole."""
    file = reach(state).session
    client.device.reset()
    expect_dead(file, did=f"reset in {state.name}")
    expect_whole(client, client.save(), did=f"reset in {state.name}, save")


@pytest.mark.rule("reset2.ends-session")
def test_reset_drops_what_was_written(client: Client, stream: Stream) -> None:
    """Write a whole stream, reset, load nothing: refused, the stream has no effect."""
    client.set(State.RESUMING)
    client.write_all(stream)
    client.device.reset()
    client.set(State.RESUMING)
    with expect_errno(did="write a stream, reset, load nothing, SET RUNNING"):
        client.set(State.RUNNING)
    client.device.reset()


@pytest.mark.rule("reset2.every-way")
@pytest.mark.parametrize("state", EVERY)
def test_every_reset(reach: Reach, client: Client, way: str, state: State) -> None:
    """Reset in every way that there is: RUNNING, and the device can be saved and loaded."""
    reach(state)
    with in_time(f"reset by {way}"), expect_success(did=f"reset by {way} in {state.name}"):
        resets.WAYS[way](client.device)
    expect_equal(state_of(client), State.RUNNING, did=f"reset by {way} in {state.name}, then GET")
    expect_whole(client, client.save(), did=f"reset by {way} in {state.name}, save")


@pytest.mark.rule("reset2.every-way")
@pytest.mark.parametrize("state", SESSIONS)
def test_every_reset_ends_the_session(reach: Reach, client: Client, way: str, state: State) -> None:
    """Reset in every way in the middle of a session: its data_fd is dead."""
    file = reach(state).session
    resets.WAYS[way](client.device)
    assert state_of(client) is State.RUNNING  # what the driver puts off is done with the next call
    expect_dead(file, did=f"reset by {way} in {state.name}")


@pytest.mark.rule("reset2.unopened")
def test_reset_between_two_opens(client: Client) -> None:
    """Close the device, reset the function, open it: RUNNING, and it can be saved."""
    device = client.device
    where = f"/sys/bus/pci/devices/{device.bdf}/reset"
    client.close()
    device.close()
    try:
        with contextlib.suppress(PermissionError), open(where, "w") as file:  # noqa: PTH123
            file.write("1")
    except OSError:
        not_applicable("this device has no reset in sysfs")
    finally:
        device.reopen()
    expect_equal(state_of(client), State.RUNNING, did="close, reset by sysfs, open, GET")
    expect_whole(client, client.save(), did="close, reset by sysfs, open, save")


@pytest.mark.rule("open2.running")
@pytest.mark.parametrize("state", EVERY)
def test_open(reach: Reach, client: Client, state: State) -> None:
    """Leave the device in a state, close and open it: RUNNING, with a whole session."""
    reach(state)
    client.close()
    client.device.reopen()
    expect_equal(state_of(client), State.RUNNING, did=f"close in {state.name}, open, GET")
    expect_whole(client, client.save(), did=f"close in {state.name}, open, save")


@pytest.mark.rule("open2.per-device")
@pytest.mark.parametrize("state", by_state())
def test_two_descriptors(reach: Reach, client: Client, state: State) -> None:
    """Open a second descriptor, close it: both show one state, and nothing changes."""
    reach(state)
    with client.device.open_again() as second:
        expect_equal(features.get_state(second), state, did="GET by a second descriptor")
        features.set_state(second, State.STOP)
        expect_equal(state_of(client), State.STOP, did="SET STOP by the second, GET by the first")
    expect_equal(state_of(client), State.STOP, did="close the second descriptor, GET")


@pytest.mark.rule("open2.outlived")
@pytest.mark.parametrize("state", SESSIONS)
def test_file_outlives_the_device(reach: Reach, client: Client, state: State) -> None:
    """Keep a data_fd over the last close and the next open: dead, and it can be closed."""
    kept = reach(state).session.duplicate()
    client.device.close()
    expect_dead(kept, did="close the device")
    open_again(client)
    expect_dead(kept, did="close the device, open it")
    with expect_success(did="close the data_fd after the device"):
        kept.close()
    expect_whole(client, client.save(), did="keep a data_fd over close and open, save")


@pytest.mark.rule("open2.killed")
@pytest.mark.parametrize("state", by_state())
def test_user_is_killed(
    reach: Reach, client: Client, child: Callable[[], Child], state: State
) -> None:
    """Kill a process that shares device and data_fd, then close here: RUNNING on the next open."""
    reach(state)
    other = child()
    client.close()
    client.device.close()
    other.kill()
    client.device.reopen()
    expect_equal(state_of(client), State.RUNNING, did=f"killed in {state.name}, open, GET")
    expect_whole(client, client.save(), did=f"killed in {state.name}, open, save")


@pytest.mark.rule("size.every-state")
@pytest.mark.parametrize("state", by_state())
def test_size(reach: Reach, client: Client, state: State) -> None:
    """Ask for the size in each state: the answer comes, the session goes on."""
    need_size(client.device)
    reach(state)
    head = client.session.read(4) if state is State.STOP_COPY else b""
    with expect_success(did=f"GET MIG_DATA_SIZE in {state.name}"):
        features.data_size(client.device)
    expect_equal(state_of(client), state, did="GET MIG_DATA_SIZE, then GET the state")
    if state is State.STOP_COPY:
        rest = client.read_all()
        client.set(State.RUNNING)
        expect_whole(client, [head, *rest], did="GET MIG_DATA_SIZE in the middle of the stream")


def need_size(device: Device) -> None:
    """Leave the test where the kernel has no MIG_DATA_SIZE, which came with 6.2."""
    try:
        features.data_size(device)
    except OSError:
        not_applicable("there is no MIG_DATA_SIZE: the kernel is older than 6.2")


@pytest.mark.rule("size.nonzero")
def test_size_is_not_zero(client: Client, stream: Stream) -> None:
    """Ask for the size of a device that has something to say: above 0."""
    need_size(client.device)
    size = features.data_size(client.device)
    expect_true(size, did="GET MIG_DATA_SIZE", expected="above 0", actual="0")
    assert stream


@pytest.mark.rule("size.covers")
@pytest.mark.parametrize("state", by_state(BEFORE_A_SAVE))
def test_size_covers(reach: Reach, client: Client, state: State) -> None:
    """Ask for the size, save from there: the stream is no longer than that."""
    need_size(client.device)
    reach(state)
    size = features.data_size(client.device)
    client.set(State.STOP_COPY)
    length = sum(map(len, client.read_all()))
    did = f"GET MIG_DATA_SIZE in {state.name}, save"
    expected = f"{size} bytes or fewer"
    expect_true(length <= size, did=did, expected=expected, actual=f"{length} bytes")
