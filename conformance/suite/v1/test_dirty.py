# SPDX-License-Identifier: GPL-2.0-only
"""What a device writes to memory while it is migrated, on one that can be made to write."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_true
from conformance.plugin.devices import Doorbell
from conformance.suite.support.guest_memory import IOVA, PAGE, PAGES, LoggedMemory
from conformance.suite.support.life import SOON, soon
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.vfio.container import Container
from conformance.vfio.device import Device
from conformance.vfio.system import sysfs

#: Seconds in which a device that still moves would write.
WHILE = 0.05
#: Pages that are written in a test.
SOME = 6
#: Times that the device is stopped while it writes.
TURNS = 10

RUNS = by_state((State.RUNNING, State.PRE_COPY))


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


@pytest.fixture
def software(device: Device) -> None:
    """Skip a device with an IOMMU of its own, which does not track single pages."""
    if sysfs.is_pci(device.bdf):
        pytest.skip("the hardware writes by itself, so the kernel reports every mapped page")


def _wait(done: Callable[[], bool], *, did: str) -> None:
    expect_true(
        soon(done),
        did=did,
        expected=f"the device writes to memory within {SOON:g} s",
        actual="it does not",
    )


def _write(memory: LoggedMemory, doorbell: Doorbell, rng: random.Random, page: int) -> None:
    """Make the device write somewhere into a page, and wait until it has."""
    before = memory.page(page)
    at = rng.randrange(0, PAGE, 4)
    value = rng.randrange(1, 1 << 32)
    while value.to_bytes(4, "little") == before[at : at + 4]:
        value = rng.randrange(1, 1 << 32)
    doorbell.ring(IOVA + page * PAGE + at, value)
    _wait(
        lambda: memory.page(page) != before,
        did=f"write the doorbell at {doorbell.offset:#x}, the address of page {page} before it",
    )


@pytest.mark.rule("dirty.reported")
@pytest.mark.parametrize("state", RUNS)
def test_written_pages_are_reported(
    reach: Reach, memory: LoggedMemory, doorbells: list[Doorbell], rng: random.Random, state: State
) -> None:
    """Have the device write to some pages: all of them are reported."""
    reach(state)
    pages = rng.sample(range(PAGES), SOME)
    for number, page in enumerate(pages):
        _write(memory, doorbells[number % len(doorbells)], rng, page)
    missing = set(pages) - memory.dirty()
    expect_equal(
        sorted(missing), [], did=f"have {sorted(pages)} written, look for those unreported"
    )


@pytest.mark.rule("dirty.reported")
def test_a_page_is_reported_each_time(
    reach: Reach, memory: LoggedMemory, doorbells: list[Doorbell], rng: random.Random
) -> None:
    """Have the device write to a page again after it was reported: it is reported again."""
    reach(State.PRE_COPY)
    page = rng.randrange(PAGES)
    for time_ in ("first", "second", "third"):
        _write(memory, doorbells[0], rng, page)
        found = page in memory.dirty()
        expect_equal(found, True, did=f"have page {page} written for the {time_} time, look for it")


@pytest.mark.rule("dirty.reported")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.STOP_AND_COPY)))
def test_last_writes_are_reported(
    reach: Reach, memory: LoggedMemory, doorbells: list[Doorbell], rng: random.Random, state: State
) -> None:
    """Ring and stop at once: what was written until then is reported, whatever that is."""
    migration = reach(State.RUNNING)
    before = [State.PRE_COPY] if state is State.STOP_AND_COPY else []
    for _ in range(TURNS):
        migration.enter(*before)
        # In this order: a doorbell of the last turn may be served now, and what it writes must not
        # be forgotten by the kernel and yet be seen.
        memory.dirty()
        memory.clear()
        for doorbell, page in zip(doorbells, rng.sample(range(PAGES), len(doorbells)), strict=True):
            doorbell.ring(IOVA + page * PAGE)
        migration.enter(state)
        missing = memory.written() - memory.dirty()
        expect_equal(sorted(missing), [], did="ring, stop, look for written pages not reported")
        migration.enter(State.RUNNING)


@pytest.mark.rule("dirty.silent")
@pytest.mark.usefixtures("software")
@pytest.mark.parametrize("state", RUNS)
def test_other_pages_are_not_reported(
    reach: Reach, memory: LoggedMemory, doorbells: list[Doorbell], rng: random.Random, state: State
) -> None:
    """Have the device write to some pages: no other is reported, and none a second time."""
    reach(state)
    pages = rng.sample(range(PAGES), SOME)
    for page in pages:
        _write(memory, doorbells[0], rng, page)
    expect_equal(sorted(memory.dirty()), sorted(pages), did="have pages written, read the bitmap")
    expect_equal(sorted(memory.written()), sorted(pages), did="look at the memory")
    expect_equal(sorted(memory.dirty()), [], did="read the bitmap again")


@pytest.mark.rule("state.synchronous")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.STOP_AND_COPY)))
def test_stopped_device_does_not_write(
    migration: MigrationRegion,
    memory: LoggedMemory,
    doorbells: list[Doorbell],
    rng: random.Random,
    state: State,
) -> None:
    """Ring, stop, and ring once more: once it is stopped, the device writes nothing."""
    for doorbell in doorbells:
        doorbell.ring(IOVA + rng.randrange(PAGES) * PAGE)
    migration.set_state(state)
    before = memory.contents()
    for doorbell in doorbells:
        doorbell.ring(IOVA + rng.randrange(PAGES) * PAGE, value=0xA5)
    time.sleep(WHILE)
    changed = [n for n in range(PAGES) if memory.page(n) != before[n * PAGE : (n + 1) * PAGE]]
    expect_equal(changed, [], did=f"enter state {state:d}, ring, look for pages that changed")
