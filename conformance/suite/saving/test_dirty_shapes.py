# SPDX-License-Identifier: GPL-2.0-only
"""Saves, buffers and writes of the tail that are not the usual ones, while a device receives."""

import random

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_true
from conformance.suite.support.receiving import FAST, UNNAMED, begin, expect_reported, wait_for
from conformance.vfio.iommu.guest_memory import PAGE
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.rule("dirty.trapped"), pytest.mark.usefixtures("apart")]

#: Bytes of a buffer that are in its first page; no message is that short.
FEW = 16


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


def test_tail_in_a_longer_write(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Write the tail as the end of 8 bytes in pre-copy: what is then received is reported."""
    if not i82576.is_one(receiver.device):
        pytest.skip("whether the register before the tail can be written is not known")
    receiver.refill(rng, 4)
    begin(saver, receiver)
    first = receiver.traffic.count()
    for index, page in enumerate(sorted(UNNAMED), receiver.waiting):
        receiver.describe(0, index, page)
    end = receiver.waiting + len(UNNAMED)
    receiver.device.region(0).write_exact(receiver.TAIL - 4, bytes(4) + end.to_bytes(4, "little"))
    receiver.traffic.set_rate(FAST)
    did = "write the tail as part of 8 bytes, receive"
    wait_for(receiver, first + end, did)
    expect_reported(receiver, receiver.pages(first, first + end), did)


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
