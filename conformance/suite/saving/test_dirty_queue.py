# SPDX-License-Identifier: GPL-2.0-only
"""A queue of an 82576 that is changed while the device uses it: no written page is clean."""

import ctypes
import random
import struct
from collections.abc import Callable, Iterator

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal
from conformance.suite.support.cases import named
from conformance.suite.support.receiving import (
    ENABLING,
    UNNAMED,
    begin,
    describe_unnamed,
    expect_reported,
    fill,
    written_to,
)
from conformance.vfio.iommu.guest_memory import IOVA, PAGE
from conformance.vfio.memory.mapping import Mapping, anonymous
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.receiver import ENTRIES, Receiver

pytestmark = [pytest.mark.rule("dirty.doubt"), pytest.mark.usefixtures("apart", "on_82576")]

#: How much farther a page is that the ring moves to: one of the high half of an address.
FAR = 1 << 32
SMALL = 1024
#: Header and packet go to buffers of their own, always; the former is of 256 bytes.
SPLIT = 5 << 25 | 4 << 8 | 4
#: Which format descriptors have: 0 is the legacy one.
FORMAT = 7 << 25
#: Bytes of a packet; odd, as of many.
LENGTH = 61

_PAIR = struct.Struct("<QQ")


@pytest.fixture
def far(receiver: Receiver) -> Iterator[Mapping]:
    """Provide a page that is far behind that of the ring, by the high half of its address."""
    container = receiver.memory.container
    with anonymous(PAGE) as page:
        container.map_dma(page.address, IOVA + FAR, PAGE)
        yield page
        container.unmap_dma(IOVA + FAR, PAGE)


def _stop_and_look(saver: Saver, receiver: Receiver, did: str) -> None:
    """Enter stop-and-copy; where that is taken, demand that each page written is reported."""
    __tracebackhide__ = True
    if saver.attempt(Stage.STOP_COPY) is None:
        expect_reported(receiver, written_to(receiver), f"{did}, enter stop-and-copy")


def _enabled_late(receiver: Receiver) -> int:
    """Write the tail of a queue that is off, then enable it."""
    bar = receiver.device.region(0)
    bar.write_int(i82576.ENABLES, 0)
    number = describe_unnamed(receiver)
    receiver.write_tail(number)
    bar.write_int(i82576.ENABLES, i82576.ENABLE)
    return number


def _split(receiver: Receiver) -> int:
    """Have headers written to buffers of their own, by the same write of the tail."""
    for index, page in enumerate(sorted(UNNAMED)):
        pair = _PAIR.pack(IOVA + (1 + index) * PAGE, IOVA + page * PAGE)
        receiver.memory.write(index * receiver.SIZE, pair)
    receiver.device.region(0).write_int(i82576.CONTROL, SPLIT)
    receiver.write_tail(len(UNNAMED))
    return len(UNNAMED)


def _larger(receiver: Receiver) -> int:
    """Post small buffers at the ends of pages, and make them larger."""
    receiver.post(sorted(UNNAMED)[::2] * 6, SMALL, PAGE - SMALL)
    receiver.device.region(0).write_int(i82576.CONTROL, i82576.control(PAGE))
    return receiver.waiting


@pytest.mark.parametrize(
    "change", named({"enabled-late": _enabled_late, "larger-buffers": _larger})
)
def test_changed_in_use(
    saver: Saver, receiver: Receiver, change: Callable[[Receiver], int]
) -> None:
    """Change the queue in pre-copy: what is then written is reported, or the save fails."""
    begin(saver, receiver)
    number = change(receiver)
    fill(receiver, number, "change the queue in pre-copy, receive")
    _stop_and_look(saver, receiver, "change the queue in pre-copy, receive")


@pytest.mark.parametrize("before", [True, False], ids=["before", "in-pre-copy"])
def test_headers_apart(saver: Saver, receiver: Receiver, before: bool) -> None:
    """Have headers written to buffers of their own: they are reported, or the save fails."""
    if not before:
        begin(saver, receiver)
    number = _split(receiver)
    if before:
        begin(saver, receiver)
    fill(receiver, number, "have headers apart, receive")
    _stop_and_look(saver, receiver, "have headers apart, receive")


def test_legacy_descriptors(saver: Saver, receiver: Receiver) -> None:
    """Post descriptors of the other format, save, receive: it is reported, or the save fails.

    They have the length of a packet of before where the usual ones say that they are done.
    """
    bar, pages = receiver.device.region(0), sorted(UNNAMED)
    for index, page in enumerate(pages):
        receiver.memory.write(index * receiver.SIZE, _PAIR.pack(IOVA + page * PAGE, LENGTH))
    bar.write_int(i82576.CONTROL, i82576.control(PAGE) & ~FORMAT)
    receiver.write_tail(len(pages))
    saver.enter(Stage.PRE_COPY)
    receiver.memory.dirty()
    fill(receiver, len(pages), did := "receive by legacy descriptors in pre-copy")
    _stop_and_look(saver, receiver, did)


def test_moved_by_the_high_half(
    saver: Saver, receiver: Receiver, far: Mapping, rng: random.Random
) -> None:
    """Move a ring in use by 4 GiB: what is then written is reported, or the save fails."""
    ring = receiver.ring(0, sorted(UNNAMED))
    receiver.refill(rng, 8)
    ctypes.memmove(far.address, ring, len(ring))
    begin(saver, receiver)
    receiver.device.region(0).write_int(i82576.BASE_HIGH, (IOVA + FAR) >> 32)
    fill(receiver, receiver.waiting, "move the ring by 4 GiB, receive")
    _stop_and_look(saver, receiver, "move the ring by 4 GiB, receive")


@pytest.mark.parametrize("enable", named(ENABLING))
def test_enabled_in_another_ring(
    saver: Saver, receiver: Receiver, enable: Callable[[Receiver, int], None]
) -> None:
    """Move a ring while the queue is off, post, enable it: it is reported, or no save."""
    ring, *buffers = sorted(UNNAMED)
    receiver.memory.write(ring * PAGE, receiver.ring(ring, buffers))
    begin(saver, receiver)
    receiver.device.region(0).write_int(i82576.ENABLES, 0)
    receiver.set_base(ring)
    enable(receiver, len(buffers))
    fill(receiver, len(buffers), "enable a queue with another ring, receive")
    _stop_and_look(saver, receiver, "enable a queue with another ring, receive")


@pytest.mark.parametrize("head", [ENTRIES, ENTRIES + 8])
def test_head_beyond_the_ring(saver: Saver, receiver: Receiver, head: int) -> None:
    """Set the head beyond the ring in pre-copy, post: the save succeeds or fails, in time."""
    begin(saver, receiver)
    receiver.device.region(0).write_int(i82576.HEAD, head)
    receiver.write_tail(describe_unnamed(receiver))
    taken = saver.attempt(Stage.STOP_COPY) is None
    stage = Stage.STOP_COPY if taken else Stage.PRE_COPY
    expect_equal(saver.stage, stage, did="set the head beyond the ring, enter stop-and-copy")


def test_head_beyond_the_ring_at_the_start(saver: Saver, receiver: Receiver) -> None:
    """Set the head beyond the ring, save, post: each step succeeds or fails, in time."""
    receiver.device.region(0).write_int(i82576.HEAD, ENTRIES + 1)
    stage = Stage.RUNNING
    for step in (Stage.PRE_COPY, Stage.STOP_COPY):
        receiver.write_tail(describe_unnamed(receiver))
        stage = step if saver.attempt(step) is None else stage
        did = f"set the head beyond the ring, {saver.words(step)}"
        expect_equal(saver.stage, stage, did=did)
