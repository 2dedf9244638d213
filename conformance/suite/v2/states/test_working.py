# SPDX-License-Identifier: GPL-2.0-only
"""Whether the device works where its state says that it runs, and stands where it does not."""

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Doorbell, Scratch
from conformance.suite.support.cases import named
from conformance.suite.support.doorbells import expect_written, ring_all
from conformance.suite.support.life import Life
from conformance.suite.support.steps import set_apart
from conformance.suite.v2.cases import WORKING, by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import expect_taken, expect_whole, need_states
from conformance.vfio.iommu.guest_memory import GuestMemory
from conformance.vfio.pci import resets

R, STOP, COPY, LOAD = State.RUNNING, State.STOP, State.STOP_COPY, State.RESUMING
QUIET, PRE, PRE_QUIET = State.RUNNING_P2P, State.PRE_COPY, State.PRE_COPY_P2P

#: What is set, one after another, on a device that runs; at the end it stands.
OUT = {
    "pre-copy:stop": (PRE, STOP),
    "pre-copy:stop-copy": (PRE, COPY),
    "pre-copy:resuming": (PRE, LOAD),
    "pre-copy:pre-copy-p2p:stop-copy": (PRE, PRE_QUIET, COPY),
    "pre-copy-p2p:pre-copy:stop-copy": (PRE_QUIET, PRE, COPY),
    "stop-copy:stop": (COPY, STOP),
    "stop:stop-copy:stop": (STOP, COPY, STOP),
    "running-p2p:stop": (QUIET, STOP),
}
#: The same; at the end it does no DMA.
STILL = {
    "pre-copy-p2p": (PRE_QUIET,),
    "pre-copy:pre-copy-p2p": (PRE, PRE_QUIET),
    "pre-copy:running-p2p": (PRE, QUIET),
    "pre-copy-p2p:running-p2p": (PRE_QUIET, QUIET),
    "stop:running-p2p": (STOP, QUIET),
}
#: The same; at the end it works.
IN = {
    "pre-copy-p2p:pre-copy": (PRE_QUIET, PRE),
    "pre-copy:pre-copy-p2p:pre-copy": (PRE, PRE_QUIET, PRE),
    "running-p2p:pre-copy": (QUIET, PRE),
    "stop:pre-copy": (STOP, PRE),
    "pre-copy-p2p:pre-copy:running": (PRE_QUIET, PRE, R),
    "pre-copy:pre-copy-p2p:running": (PRE, PRE_QUIET, R),
    "pre-copy:stop-copy:running": (PRE, COPY, R),
    "running-p2p:running-p2p:running": (QUIET, QUIET, R),
}
#: Ways from a state without DMA to one with it.
BACK: dict[str, tuple[State, ...]] = {
    "running-p2p:running": (QUIET, R),
    "running-p2p:pre-copy": (QUIET, PRE),
    "pre-copy-p2p:pre-copy": (PRE_QUIET, PRE),
    "pre-copy-p2p:running": (PRE_QUIET, R),
}


def ways(table: dict[str, tuple[State, ...]]) -> pytest.MarkDecorator:
    """Return the mark of a test that goes each way of a table."""
    return pytest.mark.parametrize("path", named({name: (path,) for name, path in table.items()}))


def walk(client: Client, path: tuple[State, ...]) -> str:
    """Set the states of a way, and return the words for it."""
    __tracebackhide__ = True
    need_states(client, *path)
    for state in path:
        expect_taken(client, state)
    return f"SET {', '.join(state.name for state in path)}"


@pytest.mark.rule("fsm.synchronous")
@ways(OUT)
def test_stands(life: Life, client: Client, path: tuple[State, ...]) -> None:
    """Take the device out of RUNNING by a way: nothing moves, no memory, no interrupt."""
    life.expect_stands(walk(client, path))


@pytest.mark.rule("fsm.synchronous")
@ways(IN)
def test_works(life: Life, client: Client, path: tuple[State, ...]) -> None:
    """Bring the device to a state that runs by a way: it works, without being set up anew."""
    life.expect_works(walk(client, path))


@pytest.mark.rule("p2p.quiet", "p2p.drained")
@ways(STILL)
def test_no_dma(
    doorbells: list[Doorbell], client: Client, guest_memory: GuestMemory, path: tuple[State, ...]
) -> None:
    """Go to a quiet state by a way, have the device asked for DMA: the memory stays clear."""
    ring_all(doorbells)
    did = walk(client, path)
    guest_memory.clear()
    ring_all(doorbells)
    expect_equal(guest_memory.written(), set(), did=f"{did}, clear, ring doorbells, look")


@pytest.mark.rule("p2p.restart")
@ways(BACK)
def test_queued_work_is_done(
    doorbells: list[Doorbell], client: Client, guest_memory: GuestMemory, path: tuple[State, ...]
) -> None:
    """Queue writes to memory in a quiet state, leave it: the memory is written."""
    walk(client, path[:1])
    wanted = ring_all(doorbells)
    did = walk(client, path[1:])
    expect_written(guest_memory, wanted, did=f"ring doorbells in {path[0].name}, {did}, look")


@pytest.mark.rule("reset2.running")
@pytest.mark.parametrize("state", by_state((State.ERROR, *WORKING)))
def test_works_after_a_reset(life: Life, reach: Reach, state: State) -> None:
    """Reset the device in any state, set it up anew: it works."""
    reach(state).device.reset()
    life.arm()
    life.expect_works(f"reset in {state.name}, set up anew")


@pytest.mark.rule("reset2.every-way")
def test_works_after_any_reset(life: Life, reach: Reach, way: str) -> None:
    """Reset a device that is saved in every way, set it up anew: it works."""
    resets.WAYS[way](reach(State.STOP_COPY).device)
    life.arm()
    life.expect_works(f"reset by {way} in STOP_COPY, set up anew")


@pytest.mark.rule("resume2.abort")
def test_reset_behind_a_load(client: Client, scratch: list[Scratch], stream: Stream) -> None:
    """Load, stay in STOP, reset, set registers, stop and run: they keep what was set."""
    client.load(stream, then=State.STOP)
    client.device.reset()
    written = set_apart(scratch, 0x3B4C5D6E)
    client.go(State.STOP, State.RUNNING)
    now = [place.read() for place in scratch]
    expect_equal(now, written, did="load, reset in STOP, write registers, stop, run, read them")
    saved = client.save()
    set_apart(scratch, 0x11223344)
    expect_whole(client, saved, did="load, reset in STOP, save")
    now = [place.read() for place in scratch]
    expect_equal(now, written, did="write registers, save, write others, load, read them")
