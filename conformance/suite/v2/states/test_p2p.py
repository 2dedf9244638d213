# SPDX-License-Identifier: GPL-2.0-only
"""Quiescence of peer-to-peer DMA."""

import random
from contextlib import closing

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.migration.v2.client import Client
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Doorbell, Scratch
from conformance.suite.support.doorbells import expect_written, ring_all
from conformance.suite.support.receiving import (
    FAST,
    UNNAMED,
    begin,
    expect_none_received,
    expect_reported,
    fill,
    need_82576,
    wait_for,
)
from conformance.suite.support.steps import set_apart
from conformance.suite.support.underway import expect_ended, write_under_way
from conformance.suite.v2.cases import by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import expect_taken, need_flag, need_states
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import GuestMemory
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.receiver import Receiver

#: Descriptors that are given new buffers.
AGAIN = 4
QUIET = by_state((State.RUNNING_P2P, State.PRE_COPY_P2P))


@pytest.mark.rule("p2p.quiet", "p2p.drained")
@pytest.mark.parametrize("state", by_state((State.RUNNING_P2P, State.STOP, State.STOP_COPY)))
def test_no_dma_after_it_returns(
    reach: Reach, doorbells: list[Doorbell], guest_memory: GuestMemory, state: State
) -> None:
    """Have the device write to memory, enter a quiet state, clear the memory: it stays clear."""
    ring_all(doorbells)
    reach(state)
    guest_memory.clear()
    expect_equal(
        guest_memory.written(), set(), did=f"ring doorbells, SET {state.name}, clear, look"
    )


@pytest.mark.rule("p2p.drained")
@pytest.mark.parametrize("state", by_state((State.RUNNING_P2P, State.STOP, State.STOP_COPY)))
def test_write_under_way_ends(
    client: Client, container: Container, doorbells: list[Doorbell], state: State
) -> None:
    """Enter a quiet state while the device writes to memory that is late: it has, then."""
    need_states(client, state)
    with write_under_way(client.device, container, doorbells[0]) as late:
        client.set(state)
        expect_ended(late, did=f"SET {state.name}")


@pytest.mark.rule("p2p.quiet")
@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("state", by_state((State.RUNNING_P2P, State.STOP, State.STOP_COPY)))
def test_no_dma_whatever_is_set_up(saver: Saver, receiver: Receiver, state: State) -> None:
    """Set a queue and bus master going in a quiet state: the device writes no memory."""
    need_82576(receiver)
    assert saver
    with closing(Client(receiver.device)) as client:
        need_states(client, state)
        client.set(state)
        expect_none_received(receiver, f"SET {state.name}")
        client.set(State.RUNNING)


@pytest.mark.rule("p2p.keeps-running")
@pytest.mark.parametrize("state", QUIET)
def test_registers_work(reach: Reach, scratch: list[Scratch], state: State) -> None:
    """Write registers in a quiet state: they take the values and keep them in RUNNING."""
    written = set_apart(scratch, 0x1A2A3A4A)
    set_apart(scratch, 0x65D5C5B5)
    client = reach(state)
    again = set_apart(scratch, 0x1A2A3A4A)
    expect_equal(again, written, did=f"write in RUNNING and in {state.name}, read")
    client.set(State.RUNNING)
    expect_equal([place.read() for place in scratch], written, did="SET RUNNING, read")


@pytest.mark.rule("p2p.restart")
def test_work_queued_meanwhile_is_done(
    reach: Reach, doorbells: list[Doorbell], guest_memory: GuestMemory
) -> None:
    """Queue writes to memory in RUNNING_P2P, SET RUNNING: the memory is written."""
    client = reach(State.RUNNING_P2P)
    wanted = ring_all(doorbells)
    client.set(State.RUNNING)
    expect_written(guest_memory, wanted, did="ring doorbells, SET RUNNING, wait, look")


@pytest.mark.rule("p2p.quiet")
def test_quiet_states_come_with_the_flag(client: Client) -> None:
    """Enter and leave RUNNING_P2P twenty times: it is there, and the device runs."""
    need_flag(client, fsm.P2P_FLAG, "P2P")
    for _ in range(20):
        expect_taken(client, State.RUNNING_P2P)
        expect_taken(client, State.RUNNING)


@pytest.mark.rule("dirty.trapped")
@pytest.mark.usefixtures("apart")
def test_pages_are_followed_from_there(
    saver: Saver, receiver: Receiver, rng: random.Random
) -> None:
    """Begin to save in PRE_COPY_P2P, receive in PRE_COPY: every written page is reported."""
    client = Client(receiver.device)
    need_flag(client, fsm.P2P_FLAG, "P2P")
    begin(saver, receiver)  # the kernel's report is a narrow one from here on
    saver.enter(Stage.RUNNING)
    receiver.refill(rng)
    with closing(client):
        client.set(State.PRE_COPY_P2P)
        client.set(State.PRE_COPY)
        receiver.memory.dirty()
        first = receiver.traffic.count()
        receiver.traffic.set_rate(FAST)
        wait_for(receiver, first + receiver.waiting, "receive in PRE_COPY")
        written = receiver.pages(first, receiver.traffic.count())
        expect_reported(receiver, written, "go by PRE_COPY_P2P")
        client.set(State.RUNNING)


@pytest.mark.rule("dirty.trapped")
@pytest.mark.usefixtures("apart")
def test_enabled_again_there(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Write the enable bit of a queue in PRE_COPY_P2P, receive in PRE_COPY: it is reported."""
    need_82576(receiver)
    begin(saver, receiver)
    saver.enter(Stage.RUNNING)
    receiver.refill(rng, AGAIN)
    with closing(Client(receiver.device)) as client:
        need_flag(client, fsm.P2P_FLAG, "P2P")
        client.go(State.PRE_COPY, State.PRE_COPY_P2P)
        receiver.device.region(0).write_int(i82576.ENABLES, i82576.ENABLE)
        client.set(State.PRE_COPY)
        receiver.memory.dirty()
        first, did = receiver.traffic.count(), "write the enable bit in PRE_COPY_P2P, receive"
        fill(receiver, AGAIN, did)
        expect_reported(receiver, receiver.pages(first, first + AGAIN), did)
        expect_taken(client, State.STOP_COPY, did=f"{did}, SET STOP_COPY")
        client.set(State.RUNNING)


def _set_back(receiver: Receiver) -> None:
    """Give descriptors that the device has done new buffers, and have it take them again."""
    for index, page in zip(range(AGAIN), sorted(UNNAMED), strict=False):
        receiver.describe(0, index, page)
    receiver.set_head(0)


def _receive_again(client: Client, receiver: Receiver, rng: random.Random) -> set[int]:
    """Receive, set the head back in PRE_COPY_P2P, receive again; return the pages of the latter."""
    client.set(State.PRE_COPY)
    first = receiver.traffic.count()
    receiver.refill(rng, AGAIN)
    receiver.traffic.set_rate(FAST)
    wait_for(receiver, first + AGAIN, "receive in PRE_COPY")
    receiver.traffic.set_rate(0)
    client.set(State.PRE_COPY_P2P)
    _set_back(receiver)
    client.set(State.PRE_COPY)
    receiver.traffic.set_rate(FAST)
    wait_for(receiver, first + 2 * AGAIN, "set the head back in PRE_COPY_P2P, receive in PRE_COPY")
    return receiver.pages(first + AGAIN, first + 2 * AGAIN)


@pytest.mark.rule("dirty.doubt")
@pytest.mark.usefixtures("apart")
def test_head_that_is_set_back_there(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Set the head back in PRE_COPY_P2P, receive: what is written is reported, or no save."""
    client = Client(receiver.device)
    need_flag(client, fsm.P2P_FLAG, "P2P")
    begin(saver, receiver)
    saver.enter(Stage.RUNNING)
    with closing(client):
        written = _receive_again(client, receiver, rng)
        if client.attempt(State.STOP_COPY) is None:
            expect_reported(receiver, written, "SET STOP_COPY")
        client.set(State.RUNNING)
