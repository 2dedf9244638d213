# SPDX-License-Identifier: GPL-2.0-only
"""What a device writes while it is saved and sends: it says which descriptors are done."""

import random
from collections.abc import Iterator
from functools import partial

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_success, expect_true
from conformance.suite.support.life import SOON, soon
from conformance.suite.support.receiving import (
    UNNAMED,
    begin,
    expect_reported,
    fill,
    need_narrowed,
)
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.receiving import i82576, i82576_transmit
from conformance.vfio.receiving.i82576_transmit import ENTRIES, QUEUES, SIZE, Transmitter
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.usefixtures("apart")]

FIRST, FRAME, SECOND, THIRD, *_, LAST = sorted(UNNAMED)
#: Where a ring begins so that its second half is in the next page.
HALF = PAGE - ENTRIES * SIZE // 2
#: How much farther a ring is by the high half of its address.
FAR = 1 << 32


@pytest.fixture
def transmitter(receiver: Receiver, request: pytest.FixtureRequest) -> Iterator[Transmitter]:
    """Provide a transmit queue that is off; skips where nothing is known of one."""
    if not i82576.is_one(receiver.device):
        pytest.skip("there is no driver of a transmit queue of this device")
    made = Transmitter(receiver.device, receiver.memory, getattr(request, "param", 0))
    yield made
    made.stop()


def _send(transmitter: Transmitter, did: str) -> None:
    """Send by more than half of the ring."""
    __tracebackhide__ = True
    transmitter.send(FRAME, ENTRIES // 2 + 1)
    expected = f"all is sent in {SOON:g} s"
    expect_true(soon(transmitter.is_done), did=did, expected=expected, actual="it is not")


def _send_and_look(
    saver: Saver, receiver: Receiver, transmitter: Transmitter, pages: set[int], did: str
) -> None:
    """Send by more than half of the ring; demand that the pages are reported, then a stop."""
    __tracebackhide__ = True
    _send(transmitter, did)
    expect_reported(receiver, pages, did)
    with expect_success(did=f"{did}, enter stop-and-copy"):
        saver.enter(Stage.STOP_COPY)


def _send_and_stop(
    saver: Saver, receiver: Receiver, transmitter: Transmitter, pages: set[int], did: str
) -> None:
    """Send by more than half of the ring, stop; demand that the pages are reported, or no stop."""
    __tracebackhide__ = True
    _send(transmitter, did)
    if saver.attempt(Stage.STOP_COPY) is None:
        expect_reported(receiver, pages, f"{did}, enter stop-and-copy")


@pytest.mark.rule("dirty.trapped")
@pytest.mark.parametrize("transmitter", QUEUES, ids=lambda n: f"queue-{n}", indirect=True)
@pytest.mark.parametrize("before", [True, False], ids=["on-before", "off-before"])
def test_new_ring(saver: Saver, receiver: Receiver, transmitter: Transmitter, before: bool) -> None:
    """Move a transmit queue to another ring in pre-copy, or begin one, send: it is reported."""
    if before:
        transmitter.start(FIRST * PAGE)
    begin(saver, receiver)
    transmitter.start(SECOND * PAGE + HALF)
    pages = {SECOND, SECOND + 1}
    _send_and_look(saver, receiver, transmitter, pages, "send by a new ring in pre-copy")


@pytest.mark.rule("dirty.trapped")
@pytest.mark.parametrize("transmitter", QUEUES, ids=lambda n: f"queue-{n}", indirect=True)
def test_ring_from_before(saver: Saver, receiver: Receiver, transmitter: Transmitter) -> None:
    """Set up a transmit queue, enter pre-copy, send: the pages of its ring are reported."""
    transmitter.start(SECOND * PAGE + HALF)
    begin(saver, receiver)
    pages = {SECOND, SECOND + 1}
    _send_and_look(saver, receiver, transmitter, pages, "send in pre-copy")


@pytest.mark.rule("dirty.trapped")
def test_ring_from_before_another(
    saver: Saver, receiver: Receiver, transmitter: Transmitter
) -> None:
    """Set up the receive queue anew in pre-copy, send by a ring from before: it is reported."""
    transmitter.start(SECOND * PAGE + HALF)
    saver.enter(Stage.PRE_COPY)
    receiver.restart()
    need_narrowed(receiver)
    pages = {SECOND, SECOND + 1}
    _send_and_look(saver, receiver, transmitter, pages, "set the receive queue up anew, send")


@pytest.mark.rule("dirty.trapped")
@pytest.mark.parametrize("page", [FIRST, LAST], ids=["up", "down"])
def test_moved_by_its_base_alone(
    saver: Saver, receiver: Receiver, transmitter: Transmitter, page: int
) -> None:
    """Move a ring that is on in pre-copy by one write, send: its pages are reported."""
    transmitter.start(page * PAGE)
    begin(saver, receiver)
    transmitter.move(SECOND * PAGE + HALF)
    _send_and_look(saver, receiver, transmitter, {SECOND, SECOND + 1}, "move the ring, send")


@pytest.mark.rule("dirty.trapped")
def test_moved_by_the_high_half(saver: Saver, receiver: Receiver, transmitter: Transmitter) -> None:
    """Move a ring that is on by 4 GiB in pre-copy, send: its pages are reported."""
    container, high = receiver.memory.container, IOVA + FAR >> 32
    bar, place = receiver.device.region(0), IOVA + FAR + SECOND * PAGE
    with anonymous(PAGE) as page:
        container.map_dma(page.address, place, PAGE)
        transmitter.start(SECOND * PAGE)
        bar.write_int(i82576_transmit.BASE_HIGH, high)
        begin(saver, receiver)
        bar.write_int(i82576_transmit.BASE_HIGH, IOVA >> 32)
        _send_and_look(saver, receiver, transmitter, {SECOND}, "move the ring by 4 GiB, send")
        container.unmap_dma(place, PAGE)


@pytest.mark.rule("dirty.trapped")
def test_made_longer(saver: Saver, receiver: Receiver, transmitter: Transmitter) -> None:
    """Make a ring that is on longer in pre-copy, send: its pages are reported."""
    transmitter.start(SECOND * PAGE + HALF, entries=ENTRIES // 2)
    begin(saver, receiver)
    transmitter.resize(ENTRIES)
    _send_and_look(saver, receiver, transmitter, {SECOND, SECOND + 1}, "make the ring longer, send")


@pytest.mark.rule("dirty.trapped")
@pytest.mark.parametrize("more", [0, 8])
def test_ring_of_a_page(
    saver: Saver, receiver: Receiver, transmitter: Transmitter, more: int
) -> None:
    """Send by the end of a ring of one page, or of a little more: its pages are reported, alone."""
    begin(saver, receiver)
    entries = PAGE // SIZE + more
    transmitter.start(SECOND * PAGE, entries=entries, first=entries - 8)
    _send(transmitter, did := "send by a long ring in pre-copy")
    reported = receiver.memory.dirty() & {SECOND, SECOND + 1, SECOND + 2}
    wanted = {SECOND, SECOND + 1} if more else {SECOND}
    expect_equal(reported, wanted, did=f"{did}, read the bitmap")


@pytest.mark.rule("dirty.trapped")
def test_receive_as_well(
    saver: Saver, receiver: Receiver, transmitter: Transmitter, rng: random.Random
) -> None:
    """Have both queues on before pre-copy, receive: what was posted is reported."""
    transmitter.start(FIRST * PAGE)
    receiver.refill(rng, 8)
    begin(saver, receiver)
    first, number = receiver.traffic.count(), receiver.waiting
    fill(receiver, number, "receive with a transmit queue on")
    written = receiver.pages(first, first + number)
    expect_reported(receiver, written, "receive with a transmit queue on")


@pytest.mark.rule("dirty.doubt")
@pytest.mark.parametrize("before", [True, False], ids=["on-before", "off-before"])
def test_head_is_written(
    saver: Saver, receiver: Receiver, transmitter: Transmitter, before: bool
) -> None:
    """Have the device write its head to memory: that is reported, or the save fails."""
    start = partial(transmitter.start, SECOND * PAGE, THIRD * PAGE)
    if before:
        start()
    begin(saver, receiver)
    if not before:
        start()
    _send_and_stop(saver, receiver, transmitter, {THIRD}, "send, with the head written to memory")


@pytest.mark.rule("dirty.doubt")
def test_head_is_written_from_then_on(
    saver: Saver, receiver: Receiver, transmitter: Transmitter
) -> None:
    """Have the head written to memory by one more write in pre-copy: as above."""
    transmitter.start(SECOND * PAGE)
    begin(saver, receiver)
    transmitter.write_head(THIRD * PAGE)
    _send_and_stop(saver, receiver, transmitter, {THIRD}, "have the head written, send")


@pytest.mark.rule("dirty.doubt")
def test_ring_is_taken(saver: Saver, receiver: Receiver, transmitter: Transmitter) -> None:
    """Unmap a transmit ring for the device in pre-copy: the save fails or succeeds, in time."""
    container = receiver.memory.container
    with anonymous(PAGE) as page:
        container.map_dma(page.address, IOVA + PAGES * PAGE, PAGE)
        transmitter.start(PAGES * PAGE)
        begin(saver, receiver)
        gone = container.unmap_dma(IOVA + PAGES * PAGE, PAGE)
    expect_equal(gone, PAGE, did="unmap the ring in pre-copy")
    stage = Stage.STOP_COPY if saver.attempt(Stage.STOP_COPY) is None else Stage.PRE_COPY
    expect_equal(saver.stage, stage, did="unmap the ring, enter stop-and-copy, read the state")


@pytest.mark.rule("dirty.trapped")
def test_ring_that_was_left(saver: Saver, receiver: Receiver, transmitter: Transmitter) -> None:
    """Switch a queue off, unmap its ring and a buffer that is done, receive: all is reported."""
    container, place = receiver.memory.container, IOVA + PAGES * PAGE
    did = "unmap the ring of a queue that is off, and a buffer that is done, receive"
    with anonymous(2 * PAGE) as memory:
        container.map_dma(memory.address, place, 2 * PAGE)
        transmitter.start(PAGES * PAGE)
        begin(saver, receiver)
        transmitter.stop()
        receiver.post([PAGES + 1])
        fill(receiver, 1, "receive in pre-copy")
        container.unmap_dma(place, 2 * PAGE)
    receiver.post(sorted(UNNAMED))
    fill(receiver, len(UNNAMED), did)
    expect_reported(receiver, set(UNNAMED), did)
    with expect_success(did=f"{did}, enter stop-and-copy"):
        saver.enter(Stage.STOP_COPY)
