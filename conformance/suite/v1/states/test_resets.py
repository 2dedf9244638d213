# SPDX-License-Identifier: GPL-2.0-only
"""Resets of every kind: the user's own, its guest's by config space, the bus's, sysfs's."""

from errno import EBUSY

import pytest

from conformance.migration.v1.client import Client
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success
from conformance.suite.support.life import Life
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import expect_after_failure, expect_whole, save_and_run
from conformance.vfio.device import Device
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.pci import resets
from conformance.vfio.pci.config import Config

ALL = (State.STOPPED, State.RUNNING, State.STOP_AND_COPY, State.PRE_COPY, State.RESUMING)


@pytest.mark.rule("state.reset-every-way")
@pytest.mark.parametrize("old", by_state((*ALL, State.ERROR)))
def test_reset_gives_running(reach: Reach, way: str, old: State) -> None:
    """Reset the device in any state: the state is _RUNNING, and the migration can begin."""
    migration = reach(old)
    with expect_success(did=f"reset by {way} in state {old:d}"):
        resets.WAYS[way](migration.device)
    expect_equal(migration.state, State.RUNNING, did=f"reset by {way} in state {old:d}")
    with expect_success(did=f"reset by {way} in state {old:d}, then write 2 and 1"):
        migration.enter(State.STOP_AND_COPY, State.RUNNING)


@pytest.mark.rule("state.reset-every-way")
def test_reset_drops_what_was_sent(client: Client, stream: list[bytes], way: str) -> None:
    """Give a whole stream, reset, resume from nothing: it is refused, the stream is gone."""
    migration = client.migration
    migration.enter(State.RESUMING)
    client.write_all(stream)
    resets.WAYS[way](migration.device)
    migration.enter(State.RESUMING)
    with expect_errno(did=f"resume from nothing after a reset by {way}"):
        migration.set_state(State.RUNNING)
    expect_after_failure(migration, State.RESUMING, did="read device_state after that")


@pytest.mark.rule("state.reset-every-way")
@pytest.mark.parametrize("old", by_state((State.STOP_AND_COPY, State.PRE_COPY)))
def test_reset_drops_what_was_saved(reach: Reach, client: Client, way: str, old: State) -> None:
    """Reset within an iteration, save again: the new stream is whole."""
    migration = reach(old)
    if migration.pending_bytes:
        client.read_window()
    resets.WAYS[way](migration.device)
    again = save_and_run(client)
    expect_whole(client, again, did=f"reset by {way} in state {old:d}, save")


@pytest.mark.rule("state.reset-every-way", "state.goes")
def test_works_after_a_reset(life: Life, reach: Reach, way: str) -> None:
    """Reset a saving device, set it up anew: it works."""
    resets.WAYS[way](reach(State.STOP_AND_COPY).device)
    life.arm()
    life.expect_works(f"reset by {way} in state 2, set up anew")


@pytest.mark.rule("state.reset-every-way", "saving.refuse")
def test_conflict_outlives_a_reset(client: Client, conflict: Mapping, way: str) -> None:
    """Reset a device of which a conflicting page is mapped: that still counts, until it goes."""
    migration = client.migration
    resets.WAYS[way](migration.device)
    with expect_errno(EBUSY, did=f"map a conflicting page, reset by {way}, write 2"):
        migration.set_state(State.STOP_AND_COPY)
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")
    conflict.close()
    with expect_success(did="unmap it, write 2", rule="saving.accept"):
        migration.set_state(State.STOP_AND_COPY)


@pytest.mark.rule("state.reset-every-way")
def test_config_space_is_there_after_a_reset(client: Client, device: Device, way: str) -> None:
    """Reset a saving device: its ids and BARs in config space are what they were."""
    before = Config(device).read()
    client.migration.enter(State.STOP_AND_COPY)
    resets.WAYS[way](device)
    now = Config(device).read()
    parts = [slice(0x00, 0x04), slice(0x08, 0x0C), slice(0x10, 0x28)]
    expect_equal(
        [now[part] for part in parts],
        [before[part] for part in parts],
        did=f"reset by {way}, read ids, class and BARs",
    )
