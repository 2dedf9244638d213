# SPDX-License-Identifier: GPL-2.0-only
"""Two descriptors of one device, which has one state and one stream."""

from collections.abc import Iterator

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import expect_whole, save_and_run
from conformance.vfio.device import Device


@pytest.fixture
def second(device: Device) -> Iterator[Client]:
    """Open the device again; give what drives it by that descriptor."""
    with device.open_again() as again:
        yield Client(MigrationRegion.find(again))


@pytest.mark.rule("state.readback")
@pytest.mark.parametrize("state", by_state())
def test_state_by_both(reach: Reach, second: Client, state: State) -> None:
    """Bring the device to a state by one descriptor, back by another: both read the same."""
    migration = reach(state)
    expect_equal(second.migration.state, state, did=f"write {state:d}, read by the second")
    second.migration.set_state(State.RUNNING)
    expect_equal(migration.state, State.RUNNING, did="write 1 by the second, read by the first")


@pytest.mark.rule("save.consume")
def test_save_by_both(client: Client, second: Client) -> None:
    """Save by two descriptors by turns: the stream is whole, nothing of it comes twice."""
    whole = save_and_run(client)
    client.migration.enter(State.STOP_AND_COPY)
    stream, turns = [], 0
    while (second if turns % 2 else client).migration.pending_bytes:
        window = (client if turns % 2 else second).read_window()
        stream.append(client.migration.region.read_exact(*window))
        turns += 1
    second.migration.set_state(State.RUNNING)
    expect_equal(len(stream), len(whole), did="save by two descriptors, count the buffers")
    expect_whole(client, stream, did="save by two descriptors")


@pytest.mark.rule("resume.same-chunks")
def test_resume_by_both(client: Client, second: Client, stream: list[bytes]) -> None:
    """Resume by two descriptors by turns: it is taken, and the device runs."""
    client.migration.enter(State.RESUMING)
    for turn, chunk in enumerate(stream):
        (second if turn % 2 else client).write_all([chunk])
    second.migration.set_state(State.RUNNING)
    expect_equal(client.migration.state, State.RUNNING, did="resume by two descriptors, read it")


@pytest.mark.rule("state.no-spontaneous")
@pytest.mark.parametrize("state", by_state())
def test_closed_by_one(reach: Reach, device: Device, state: State) -> None:
    """Write a state by the second descriptor and close it: the device stays there."""
    migration = reach(state)
    with device.open_again() as again:
        MigrationRegion.find(again).set_state(state)
    expect_equal(migration.state, state, did="write the state again by a second, close that, read")
