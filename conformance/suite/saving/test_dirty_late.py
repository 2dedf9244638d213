# SPDX-License-Identifier: GPL-2.0-only
"""A queue of an 82576 that is changed, and has received before its driver can look at it.

A descriptor that is done has lost its address. What it has instead is one as well in a guest whose
memory begins at 0, so that who follows it notices nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, Timer

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_true
from conformance.suite.support.cases import named
from conformance.suite.support.life import SOON, soon
from conformance.suite.support.receiving import (
    ENABLING,
    FAST,
    UNNAMED,
    begin,
    describe_unnamed,
    expect_reported,
    fill,
    wait_for,
    written_to,
)
from conformance.vfio.iommu.guest_memory import PAGE
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.memory.userfault import Userfault
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.receiver import ENTRIES, Receiver

pytestmark = [
    pytest.mark.rule("dirty.doubt"),
    pytest.mark.usefixtures("apart", "on_82576", "low"),
]

#: Bytes of memory from address 0 on: more than a done descriptor can say.
LOW = 32 * PAGE
#: Seconds until memory comes.
DELAY = 0.2
#: Buffers of the ring that is in use before.
FEW = 8
#: Where the ring is that is moved to page 0, or from there; its buffers are behind it.
FAR, *BUFFERS = sorted(UNNAMED)


@pytest.fixture
def low(receiver: Receiver) -> Iterator[None]:
    """Map memory from address 0 on."""
    container = receiver.memory.container
    with anonymous(LOW) as memory:
        container.map_dma(memory.address, 0, LOW)
        yield
        container.unmap_dma(0, LOW)


@contextmanager
def _bitmap_late(receiver: Receiver) -> Iterator[None]:
    """Read a bitmap to memory that comes late: until then nothing is pinned, and frames come."""
    container = receiver.memory.container
    with anonymous(PAGE) as page, Userfault(page.address, bytes(PAGE), DELAY) as late:
        reading = Thread(target=container.write_bitmap, args=(0, LOW, page.address, 8))
        frames = Timer(DELAY / 2, receiver.traffic.set_rate, (FAST,))
        reading.start()
        waits = soon(lambda: late.faults > 0)
        frames.start()
        yield
        frames.join()
        reading.join()
    did, expected = "read a bitmap to missing memory", f"it is missed within {SOON:g} s"
    expect_true(waits, did=did, expected=expected, actual="it is not")


def _receive_and_stop(saver: Saver, receiver: Receiver, end: int, did: str) -> None:
    """Wait for so many buffers in all, stop; demand that written pages are reported, or no stop."""
    __tracebackhide__ = True
    wait_for(receiver, end, did)
    if saver.attempt(Stage.STOP_COPY) is None:
        expect_reported(receiver, written_to(receiver), f"{did}, enter stop-and-copy")


@pytest.mark.parametrize("enable", named(ENABLING))
def test_enabled(saver: Saver, receiver: Receiver, enable: Callable[[Receiver, int], None]) -> None:
    """Enable a queue with buffers in pre-copy, frames come at once: reported, or no save."""
    begin(saver, receiver)
    receiver.device.region(0).write_int(i82576.ENABLES, 0)
    number, first = describe_unnamed(receiver), receiver.traffic.count()
    with _bitmap_late(receiver):
        enable(receiver, number)
    _receive_and_stop(saver, receiver, first + number, "enable the queue, receive at once")


@pytest.mark.parametrize(("old", "new"), named({"up": (0, FAR), "down": (FAR, 0)}))
def test_moved(saver: Saver, receiver: Receiver, old: int, new: int) -> None:
    """Move a ring in use in pre-copy, frames come at once: it is reported, or no save."""
    receiver.memory.write(old * PAGE, receiver.ring(old, [*range(1, FEW + 1)]))
    receiver.set_base(old)
    receiver.write_tail(FEW)
    begin(saver, receiver)
    receiver.memory.write(new * PAGE, receiver.ring(new, BUFFERS))
    first = receiver.traffic.count()
    with _bitmap_late(receiver):
        receiver.set_base(new)
    _receive_and_stop(saver, receiver, first + FEW, "move the ring, receive at once")


def test_made_longer(saver: Saver, receiver: Receiver) -> None:
    """Double a ring in use in pre-copy, frames come at once: it is reported, or no save."""
    half, head = ENTRIES // 2, ENTRIES // 2 - FEW // 2
    receiver.resize(half)
    receiver.set_head(head)
    for number in range(ENTRIES):
        page = number + 1 if number < half else sorted(UNNAMED)[number % len(UNNAMED)]
        receiver.describe(0, number, page)
    receiver.write_tail(FEW // 2)
    begin(saver, receiver)
    first = receiver.traffic.count()
    with _bitmap_late(receiver):
        receiver.resize(ENTRIES)
    end = first + ENTRIES - head + FEW // 2
    _receive_and_stop(saver, receiver, end, "double the ring, receive at once")


def test_head_that_is_set_back(saver: Saver, receiver: Receiver) -> None:
    """Receive in pre-copy, set the head back, receive: what is written is reported, or no save."""
    begin(saver, receiver)
    receiver.post([*range(1, FEW + 1)])
    fill(receiver, FEW, "receive in pre-copy")
    describe_unnamed(receiver)
    first = receiver.traffic.count()
    receiver.set_head(0)
    receiver.traffic.set_rate(FAST)
    _receive_and_stop(saver, receiver, first + FEW, "receive, set the head back, receive")
