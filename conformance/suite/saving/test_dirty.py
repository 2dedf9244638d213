# SPDX-License-Identifier: GPL-2.0-only
"""What a device writes to memory while it is migrated, on one that can be made to write."""

import random
from collections.abc import Callable

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_true
from conformance.plugin.declared import Doorbell
from conformance.suite.conftest import need
from conformance.suite.support.cases import by_stage
from conformance.suite.support.life import SOON, soon
from conformance.suite.support.receiving import UNNAMED, describe_unnamed, expect_reported, fill
from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES, LoggedMemory
from conformance.vfio.receiving.receiver import Receiver
from conformance.vfio.system import sysfs

#: Pages that are written in a test.
SOME = 6
#: Buffers that are filled in a test.
MANY = 8
#: Times that the device is stopped while it writes.
TURNS = 10

RUNS = pytest.mark.parametrize("stage", by_stage((Stage.RUNNING, Stage.PRE_COPY)), indirect=True)
RESTS = pytest.mark.parametrize("stage", by_stage((Stage.STOPPED, Stage.STOP_COPY)), indirect=True)


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
@RUNS
def test_written_pages_are_reported(
    saver: Saver, doorbells: list[Doorbell], memory: LoggedMemory, rng: random.Random, stage: Stage
) -> None:
    """Have the device write to some pages: all of them are reported."""
    saver.reach(stage)
    pages = rng.sample(range(PAGES), SOME)
    for number, page in enumerate(pages):
        _write(memory, doorbells[number % len(doorbells)], rng, page)
    missing = set(pages) - memory.dirty()
    expect_equal(
        sorted(missing), [], did=f"have {sorted(pages)} written, look for those unreported"
    )


@pytest.mark.rule("dirty.reported")
def test_a_page_is_reported_each_time(
    saver: Saver, doorbells: list[Doorbell], memory: LoggedMemory, rng: random.Random
) -> None:
    """Have the device write to a page again after it was reported: it is reported again."""
    need(saver, Stage.PRE_COPY)
    saver.reach(Stage.PRE_COPY)
    page = rng.randrange(PAGES)
    for time_ in ("first", "second", "third"):
        _write(memory, doorbells[0], rng, page)
        found = page in memory.dirty()
        expect_equal(found, True, did=f"have page {page} written for the {time_} time, look for it")


@pytest.mark.rule("dirty.reported")
@RESTS
def test_last_writes_are_reported(
    saver: Saver, doorbells: list[Doorbell], memory: LoggedMemory, rng: random.Random, stage: Stage
) -> None:
    """Ring and stop at once: what was written until then is reported, whatever that is."""
    for _ in range(TURNS):
        if stage is Stage.STOP_COPY and saver.first is not stage:
            saver.enter(saver.first)
        # In this order: a doorbell of the last turn may be served now, and what it writes must not
        # be forgotten by the kernel and yet be seen.
        memory.dirty()
        memory.clear()
        for doorbell, page in zip(doorbells, rng.sample(range(PAGES), len(doorbells)), strict=True):
            doorbell.ring(IOVA + page * PAGE)
        saver.enter(stage)
        missing = memory.written() - memory.dirty()
        expect_equal(sorted(missing), [], did="ring, stop, look for written pages not reported")
        saver.enter(Stage.RUNNING)


@pytest.mark.rule("dirty.silent")
@pytest.mark.usefixtures("software")
@RUNS
def test_other_pages_are_not_reported(
    saver: Saver, doorbells: list[Doorbell], memory: LoggedMemory, rng: random.Random, stage: Stage
) -> None:
    """Have the device write to some pages: no other is reported, and none a second time."""
    saver.reach(stage)
    pages = rng.sample(range(PAGES), SOME)
    for page in pages:
        _write(memory, doorbells[0], rng, page)
    expect_equal(sorted(memory.dirty()), sorted(pages), did="have pages written, read the bitmap")
    expect_equal(sorted(memory.written()), sorted(pages), did="look at the memory")
    expect_equal(sorted(memory.dirty()), [], did="read the bitmap again")


@pytest.mark.rule("dirty.reported")
@pytest.mark.usefixtures("apart")
def test_posted_by_a_mapping(receiver: Receiver) -> None:
    """Set a queue up by write(), post by a mapping in _RUNNING: what is received is reported."""
    page = receiver.TAIL // PAGE * PAGE
    describe_unnamed(receiver)
    with receiver.device.region(0).map(page, PAGE) as mapping:
        receiver.memory.dirty()
        mapping.store(receiver.TAIL - page, len(UNNAMED))
        fill(receiver, len(UNNAMED), "post by a mapping, receive")
    expect_reported(receiver, set(UNNAMED), "post by a mapping, receive")


@pytest.mark.rule("dirty.reported")
@pytest.mark.usefixtures("apart")
def test_received_before_a_stop(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Receive in _RUNNING, enter stop-and-copy without pre-copy: what is received is reported."""
    receiver.refill(rng, MANY)
    receiver.memory.dirty()
    first = receiver.traffic.count()
    fill(receiver, MANY, "receive in _RUNNING")
    saver.enter(Stage.STOP_COPY)
    pages = receiver.pages(first, first + MANY)
    expect_reported(receiver, pages, "receive in _RUNNING, enter stop-and-copy")
