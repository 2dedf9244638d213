# SPDX-License-Identifier: GPL-2.0-only
"""The log of DMA writes of a device that receives by itself: each page it wrote is there."""

import itertools
import random
from collections.abc import Iterator
from contextlib import closing

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal
from conformance.suite.support.receiving import (
    FAST,
    FIRST_UNNAMED,
    begin,
    copy_and_compare,
    fill,
    receive,
    receive_elsewhere,
    wait_for,
)
from conformance.suite.v2.dma.log import LOG, logging, need_report
from conformance.vfio import features
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import LoggedMemory
from conformance.vfio.receiving.receiver import Receiver

pytestmark = pytest.mark.usefixtures("apart")

#: Migrations of the test that copies memory by the log, each at a rate of its own.
MIGRATIONS = 25
#: Buffers that are posted at a time: more than half of the ring.
BATCH = 20


class ReportedMemory(LoggedMemory):
    """Memory of which the device itself, not the container, says what it wrote."""

    def __init__(self, container: Container, device: Device) -> None:
        super().__init__(container)
        self._device = device

    def dirty(self) -> set[int]:
        """Return the numbers of the pages in the device's log, and have it forget them."""
        return features.report_log(self._device, LOG)


@pytest.fixture
def memory(container: Container, logger: Device) -> Iterator[LoggedMemory]:
    """Provide memory to receive into, and have the device log what it writes there."""
    logger.reset()
    with closing(ReportedMemory(container, logger)) as made, logging(logger):
        need_report(logger)
        yield made


@pytest.mark.rule("dma-log.report")
def test_across_changes_of_the_state(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Receive before, in and after pre-copy, REPORT after each: all pages are in the log."""
    way = (Stage.RUNNING, Stage.PRE_COPY, Stage.RUNNING, Stage.PRE_COPY)
    for before, after in itertools.pairwise(way):
        did = f"receive in {before.value}, enter {after.value}, REPORT"
        first = receiver.traffic.count()
        receiver.traffic.set_rate(FAST)
        receive(receiver, rng)
        receiver.traffic.set_rate(0)
        written = receiver.pages(first, receiver.traffic.count())
        saver.enter(after)
        expect_equal(sorted(written - receiver.memory.dirty()), [], did=did)


@pytest.mark.rule("dma-log.report")
def test_posted_before_a_save(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Post, begin to save, REPORT, then receive: the pages are in the log, with no tail written."""
    receiver.refill(rng)
    posted = receiver.outstanding()
    begin(saver, receiver)
    first = receiver.traffic.count()
    receiver.traffic.set_rate(FAST)
    wait_for(receiver, first + len(posted), "post buffers, enter pre-copy, receive")
    missing = receiver.pages(first, receiver.traffic.count()) - receiver.memory.dirty()
    expect_equal(sorted(missing), [], did="receive what was posted before, REPORT")


@pytest.mark.rule("dma-log.report")
def test_descriptors_used_again(saver: Saver, receiver: Receiver) -> None:
    """Receive in pre-copy by more buffers than there are descriptors: all are in the log."""
    begin(saver, receiver)
    first = receiver.traffic.count()
    for start in range(1, FIRST_UNNAMED, BATCH):
        pages = list(range(start, min(start + BATCH, FIRST_UNNAMED)))
        receiver.post(pages)
        fill(receiver, len(pages), "receive in pre-copy")
        receiver.take()
    missing = receiver.pages(first, receiver.traffic.count()) - receiver.memory.dirty()
    expect_equal(sorted(missing), [], did="use all descriptors again in pre-copy, REPORT")


@pytest.mark.rule("dma-log.report")
def test_copy_by_the_log(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Copy memory by the log, in rounds, under traffic of random rates: it is the same."""
    copy_and_compare(saver, receiver, rng, range(MIGRATIONS))


@pytest.mark.rule("dma-log.quiet-device")
def test_other_pages_are_not_in_the_log(
    saver: Saver, receiver: Receiver, rng: random.Random
) -> None:
    """Receive in pre-copy: pages that no descriptor named since it began are not in the log."""
    stray = receive_elsewhere(saver, receiver, rng)
    expect_equal(sorted(stray), [], did="receive into other pages, REPORT")
