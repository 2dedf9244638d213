# SPDX-License-Identifier: GPL-2.0-only
"""Saves, buffers and writes of the tail that are not the usual ones, while a device receives."""

import ctypes
import random
from contextlib import suppress

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_success, expect_true
from conformance.suite.support.life import soon
from conformance.suite.support.receiving import (
    FAST,
    UNNAMED,
    begin,
    describe_unnamed,
    expect_reported,
    fill,
    need_82576,
    wait_for,
    written_to,
)
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.i82576 import DONE
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.rule("dirty.trapped"), pytest.mark.usefixtures("apart")]

#: Bytes of a buffer that are in its first page; no message is that short.
FEW = 16
#: Bytes of a small buffer, which most messages fill.
SMALL = 1024
#: Bytes of a buffer of an 82576 that is given no size.
USUAL = 2048
#: Bytes of the largest buffer that its register can say.
LARGEST = 127 * 1024
#: Where a long ring begins, and how many descriptors it has: their numbers take two bytes.
LONG, MANY = 8 * PAGE + PAGE // 2, 512


def test_buffer_over_two_pages(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Receive in pre-copy into a buffer that begins at the end of a page: both are reported."""
    receiver.refill(rng, 4)
    begin(saver, receiver)
    first = receiver.traffic.count()
    begins = min(UNNAMED)
    receiver.post([begins], offset=PAGE - FEW)
    receiver.traffic.set_rate(FAST)
    did = "receive into a buffer over two pages"
    wait_for(receiver, first + receiver.waiting, did)
    written = {page for page in (begins, begins + 1) if any(receiver.memory.page(page))}
    expect_true(begins in written, did=did, expected="its first page is written", actual="not so")
    expect_reported(receiver, written, did)


def test_buffers_of_the_usual_size(saver: Saver, receiver: Receiver) -> None:
    """Give no size of buffers, receive over the end of a page: all written pages are reported."""
    if not i82576.is_one(receiver.device):
        pytest.skip("whether a queue of this device has a size of buffers by itself is not known")
    begins = sorted(UNNAMED)[:4:2]
    receiver.post(begins, size=0, offset=PAGE - FEW)
    begin(saver, receiver)
    first = receiver.traffic.count()
    receiver.traffic.set_rate(FAST)
    did = "post buffers without a size, enter pre-copy, receive"
    wait_for(receiver, first + len(begins), did)
    written = {page for page in UNNAMED if any(receiver.memory.page(page))}
    expect_equal(written, {*begins, *(page + 1 for page in begins)}, did=f"{did}, look at memory")
    expect_reported(receiver, written, did)


def test_usual_size_up_to_the_end_of_a_page(saver: Saver, receiver: Receiver) -> None:
    """Give no size of buffers that end with a page, receive: no page behind them is reported."""
    need_82576(receiver)
    begins = sorted(UNNAMED)[:4:2]
    begin(saver, receiver)
    receiver.post(begins, size=0, offset=PAGE - USUAL)
    fill(receiver, len(begins), "receive into buffers without a size")
    reported = receiver.memory.dirty() & UNNAMED
    expect_equal(reported, set(begins), did="receive into buffers without a size, read the bitmap")


@pytest.mark.parametrize(
    ("at", "width"), [(0, 1), (0, 2), (-2, 4), (-4, 8)], ids=["1", "2", "4-unaligned", "8"]
)
def test_tail_by_another_width(
    saver: Saver, receiver: Receiver, rng: random.Random, at: int, width: int
) -> None:
    """Write the tail by a write that is not of its 4 bytes, receive: it is reported."""
    need_82576(receiver)
    receiver.refill(rng, 4)
    begin(saver, receiver)
    first = receiver.traffic.count()
    end = receiver.waiting + describe_unnamed(receiver, receiver.waiting)
    bar = receiver.device.region(0)
    data = bytes(-at) + end.to_bytes(width + at, "little")
    with anonymous(PAGE) as memory:
        ctypes.memmove(memory.address, data.ljust(16, b"\xff"), 16)
        bar.write_from(memory.address, receiver.TAIL + at, width)
    if bar.read_int(receiver.TAIL) != end:
        pytest.skip("the device takes no tail by such a write")
    did = f"write the tail by {width} bytes, receive"
    fill(receiver, end, did)
    expect_reported(receiver, receiver.pages(first, first + end), did)


def test_descriptor_with_an_old_status(
    saver: Saver, receiver: Receiver, rng: random.Random
) -> None:
    """Post descriptors that still say that they are done: the pages are reported."""
    need_82576(receiver)
    begin(saver, receiver)
    receiver.refill(rng, 4)
    index = receiver.waiting
    fill(receiver, index, "receive in pre-copy")
    end = index + describe_unnamed(receiver, index)
    for number in range(index, end):
        receiver.memory.write(number * receiver.SIZE + 8, DONE.to_bytes(8, "little"))
    receiver.write_tail(end)
    did = "post descriptors with a status, receive"
    fill(receiver, end - index, did)
    expect_equal(written_to(receiver), set(UNNAMED), did=f"{did}, look at the memory")
    expect_reported(receiver, set(UNNAMED), did)


@pytest.mark.parametrize("over", [0, 1])
def test_small_buffers(saver: Saver, receiver: Receiver, over: int) -> None:
    """Receive into 1 KiB that ends at the end of a page, or one byte behind it: no more."""
    need_82576(receiver)
    begins = min(UNNAMED)
    begin(saver, receiver)
    receiver.post([begins] * receiver.room, SMALL, PAGE - SMALL + over)
    receiver.traffic.set_rate(FAST)
    did = "receive into small buffers"
    done = soon(lambda: receiver.take() is not None and not receiver.outstanding())
    expect_true(done, did=did, expected="all are done", actual="some are not")
    reported = receiver.memory.dirty() & UNNAMED
    named = set(range(begins, begins + 1 + over))
    expect_equal(written_to(receiver), named, did=f"{did}, look at the memory")
    expect_equal(reported, named, did=f"{did}, read the bitmap")


def test_largest_buffer(saver: Saver, receiver: Receiver) -> None:
    """Receive into the largest buffer that there is, from the last byte of a page: reported."""
    need_82576(receiver)
    begin(saver, receiver)
    receiver.post([1], LARGEST, PAGE - 1)
    fill(receiver, 1, "receive into the largest buffer")
    written = {page for page in (1, 2) if any(receiver.memory.page(page))}
    expect_reported(receiver, written, "receive into the largest buffer")


def _begin_a_long_ring(receiver: Receiver, first: int) -> None:
    """Go on at a descriptor far behind, in an empty ring that begins inside a page."""
    bar = receiver.device.region(0)
    for register, value in (
        (i82576.ENABLES, 0),
        (i82576.BASE, IOVA + LONG & 0xFFFFFFFF),
        (i82576.LENGTH, MANY * receiver.SIZE),
        (i82576.HEAD, first),
        (i82576.TAIL, first),
        (i82576.ENABLES, i82576.ENABLE),
    ):
        bar.write_int(register, value)


@pytest.mark.parametrize(("first", "width"), [(430, 4), (508, 4), (508, 2)])
def test_long_ring(saver: Saver, receiver: Receiver, first: int, width: int) -> None:
    """Receive by descriptors far behind in a ring that begins inside a page: it is reported."""
    need_82576(receiver)
    _begin_a_long_ring(receiver, first)
    begin(saver, receiver)
    for index, page in enumerate(sorted(UNNAMED), first):
        place = LONG + index % MANY * receiver.SIZE
        receiver.memory.write(place, receiver.descriptor(page))
    tail = (first + len(UNNAMED)) % MANY
    receiver.device.region(0).write_exact(receiver.TAIL, tail.to_bytes(width, "little"))
    fill(receiver, len(UNNAMED), "receive by a long ring")
    own = (LONG + first * receiver.SIZE) // PAGE
    expect_equal(written_to(receiver), set(UNNAMED), did="receive by a long ring")
    expect_reported(receiver, {own, *UNNAMED}, "receive by a long ring")
    with expect_success(did="receive by a long ring, enter stop-and-copy"):
        saver.enter(Stage.STOP_COPY)


def test_other_regions(saver: Saver, receiver: Receiver) -> None:
    """Write to other BARs where this one has the tail: what is then received is reported."""
    bars = [region for region in receiver.device.regions if 0 < region.index <= 5]
    others = [region for region in bars if region.size > receiver.TAIL + 4]
    if not others:
        pytest.skip("no other BAR reaches as far")
    begin(saver, receiver)
    for region in others:
        with suppress(OSError):
            region.write_int(receiver.TAIL, len(UNNAMED) // 2)
    receiver.post(sorted(UNNAMED))
    fill(receiver, len(UNNAMED), "write other BARs, receive")
    expect_reported(receiver, set(UNNAMED), "write other BARs, receive")


@pytest.mark.parametrize("page", [-1, PAGES], ids=["before", "behind"])
def test_done_buffer_is_unmapped(saver: Saver, receiver: Receiver, page: int) -> None:
    """Unmap a page that the device has filled, beside others in use, receive: it is reported."""
    container, did = receiver.memory.container, "unmap a buffer that is done, receive"
    with anonymous(PAGE) as memory:
        container.map_dma(memory.address, IOVA + page * PAGE, PAGE)
        begin(saver, receiver)
        receiver.post([page])
        fill(receiver, 1, "receive in pre-copy")
        receiver.post([PAGES - 1])
        container.unmap_dma(IOVA + page * PAGE, PAGE)
    receiver.post(sorted(UNNAMED)[:-1])
    fill(receiver, len(UNNAMED), did)
    expect_reported(receiver, {0, *UNNAMED}, did)


def test_save_after_another(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Stop the device for a save, set it running, save anew, receive: each page is reported."""
    receiver.refill(rng, 8)
    saver.enter(Stage.STOP_COPY)
    saver.enter(Stage.RUNNING)
    begin(saver, receiver)
    first = receiver.traffic.count()
    receiver.traffic.set_rate(FAST)
    did = "save, set running, save anew, receive"
    wait_for(receiver, first + receiver.waiting, did)
    written = receiver.pages(first, receiver.traffic.count())
    expect_reported(receiver, written, did)
