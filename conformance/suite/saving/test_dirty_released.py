# SPDX-License-Identifier: GPL-2.0-only
"""What a driver has pinned of the rings of its device, and when it lets go of that."""

import random
from collections.abc import Iterator

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal
from conformance.suite.support.receiving import UNNAMED, begin
from conformance.vfio.iommu.guest_memory import PAGE, SIZE
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.i82576_transmit import QUEUES, Transmitter
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.rule("dirty.released"), pytest.mark.usefixtures("apart")]


@pytest.fixture
def rings(receiver: Receiver, rng: random.Random) -> Iterator[set[int]]:
    """Set all rings up that the suite has a driver of; provide the pages of those that send."""
    receiver.refill(rng, 8)
    queues = QUEUES if i82576.is_one(receiver.device) else ()
    transmitters = [Transmitter(receiver.device, receiver.memory, queue) for queue in queues]
    pages = sorted(UNNAMED)[: len(queues)]
    for transmitter, page in zip(transmitters, pages, strict=True):
        transmitter.start(page * PAGE)
    yield set(pages)
    for transmitter in transmitters:
        transmitter.stop()


@pytest.mark.parametrize("last", [Stage.PRE_COPY, Stage.STOP_COPY], ids=lambda s: s.name.lower())
def test_given_up(saver: Saver, receiver: Receiver, rings: set[int], last: Stage) -> None:
    """Give a save up, look twice: what is not written is not reported any more."""
    begin(saver, receiver)
    if last is Stage.STOP_COPY:
        saver.enter(Stage.STOP_COPY)
    saver.enter(Stage.RUNNING)
    receiver.memory.dirty()
    left = receiver.memory.dirty() & (rings | {0} | receiver.outstanding())
    expect_equal(sorted(left), [], did=f"give up in {last.name}, look for rings and buffers")


def test_closed(saver: Saver, receiver: Receiver, rings: set[int]) -> None:
    """Close the device in pre-copy, unmap its memory: all was mapped, and the kernel lives."""
    del rings  # they are set up: that is what the device is closed with
    begin(saver, receiver)
    saver.close()
    receiver.device.close()
    expect_equal(receiver.memory.unmap(), SIZE, did="close, unmap: how many bytes were mapped?")
    receiver.device.reopen()
