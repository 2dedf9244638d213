# SPDX-License-Identifier: GPL-2.0-only
"""Queues that are set up anew in pre-copy, or written to as they are: nothing written is lost."""

import random

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_success, expect_true
from conformance.suite.support.life import soon
from conformance.suite.support.receiving import (
    FAST,
    UNNAMED,
    begin,
    expect_reported,
    fill,
    need_82576,
    written_to,
)
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, SIZE
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.i82576 import control
from conformance.vfio.receiving.receiver import ENTRIES, Receiver

pytestmark = [pytest.mark.rule("dirty.trapped"), pytest.mark.usefixtures("apart")]

#: Bytes of a small buffer.
SMALL = 1024
#: Buffers that are posted at a time.
MANY = 8
#: Registers of a queue but for its head, which says where the device goes on, and its tail.
SETUP = (
    i82576.BASE,
    i82576.BASE_HIGH,
    i82576.LENGTH,
    i82576.CONTROL,
    i82576.CACHE_HINTS,
    i82576.ENABLES,
)
#: Where a device maps nothing.
NOWHERE = IOVA + 2 * SIZE


def _receive_and_look(receiver: Receiver, did: str) -> None:
    """Receive into pages that nothing named before; demand that they are reported."""
    __tracebackhide__ = True
    receiver.post(sorted(UNNAMED))
    fill(receiver, receiver.waiting, did)
    expect_equal(written_to(receiver), set(UNNAMED), did=f"{did}, look at the memory")
    expect_reported(receiver, set(UNNAMED), did)


def test_set_up_anew(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Receive in pre-copy, switch the queue off and on, receive: the pages are reported."""
    begin(saver, receiver)
    receiver.refill(rng, 8)
    fill(receiver, receiver.waiting, "receive in pre-copy")
    receiver.restart()
    _receive_and_look(receiver, "set the queue up anew, receive")


def test_reset_in_between(saver: Saver, receiver: Receiver) -> None:
    """Reset in pre-copy, set the queue back by a mapping, save anew, receive: it is reported."""
    need_82576(receiver)
    begin(saver, receiver)
    receiver.device.reset()
    saver.close()
    receiver.restart()
    receiver.post([*range(1, MANY + 1)])
    fill(receiver, MANY, "receive after a reset")
    pages, place = range(MANY + 1, 2 * MANY + 1), i82576.BASE // PAGE * PAGE
    for index, page in enumerate(pages):
        receiver.describe(0, index, page)
    with receiver.device.region(0).map(place, PAGE) as mapping:
        mapping.store(i82576.HEAD - place, 0)
    begin(saver, receiver)
    fill(receiver, MANY, did := "reset in pre-copy, save anew, receive")
    expect_reported(receiver, set(pages), did)


def test_written_as_it_is(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Write to the registers of a queue in use what they hold, receive: the pages are reported."""
    need_82576(receiver)
    receiver.refill(rng, 4)
    begin(saver, receiver)
    bar = receiver.device.region(0)
    for register in SETUP:
        bar.write_int(register, bar.read_int(register))
    _receive_and_look(receiver, "write registers as they are, receive")


def test_wrong_while_it_is_off(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Write a wrong address to a queue that is off, then set it up, receive: it is reported."""
    need_82576(receiver)
    receiver.refill(rng, 4)
    saver.enter(Stage.STOP_COPY)
    saver.enter(Stage.RUNNING)
    begin(saver, receiver)
    bar = receiver.device.region(0)
    bar.write_int(i82576.ENABLES, 0)
    bar.write_int(i82576.BASE, NOWHERE & 0xFFFFFFFF)
    receiver.restart()
    _receive_and_look(receiver, "write a wrong address while it is off, set it up, receive")


def test_length_comes_last(saver: Saver, receiver: Receiver) -> None:
    """Enable a queue without descriptors in pre-copy, then give it some: it is reported."""
    need_82576(receiver)
    begin(saver, receiver)
    bar = receiver.device.region(0)
    for register, value in (
        (i82576.ENABLES, 0),
        (i82576.LENGTH, 0),
        (i82576.ENABLES, i82576.ENABLE),
        (i82576.LENGTH, ENTRIES * receiver.SIZE),
    ):
        bar.write_int(register, value)
    _receive_and_look(receiver, "enable the queue, write its length, receive")


def test_larger_buffers(saver: Saver, receiver: Receiver) -> None:
    """Have larger buffers from pre-copy on: what is written behind a small one is reported."""
    need_82576(receiver)
    bar = receiver.device.region(0)
    bar.write_int(i82576.CONTROL, control(SMALL))
    begin(saver, receiver)
    bar.write_int(i82576.CONTROL, control(PAGE))
    begins = sorted(UNNAMED)[::2]
    receiver.post(begins * 6, offset=PAGE - SMALL)
    did = "make buffers larger, receive"
    fill(receiver, receiver.waiting, did)
    written = written_to(receiver)
    expected = "more than a small one is written"
    expect_true(len(written) > len(begins), did=did, expected=expected, actual="not so")
    expect_reported(receiver, written, did)


def _fill_all(receiver: Receiver) -> None:
    """Have frames come until each buffer is filled, however many of them a frame takes."""
    receiver.traffic.set_rate(FAST)
    done = soon(lambda: receiver.take() is not None and not receiver.outstanding())
    receiver.traffic.set_rate(0)
    expect_true(done, did="receive", expected="all are done", actual="some are not")


def test_larger_by_the_same_descriptors(saver: Saver, receiver: Receiver) -> None:
    """Fill small buffers by all descriptors, then larger ones that begin there: it is reported."""
    need_82576(receiver)
    begin(saver, receiver)
    begins = sorted(UNNAMED)[::2]
    for _ in range(2):
        receiver.post(begins * (ENTRIES // 2 // len(begins)), SMALL, PAGE - SMALL)
        _fill_all(receiver)
    receiver.device.region(0).write_int(i82576.CONTROL, control(PAGE))
    receiver.memory.dirty()
    receiver.post(begins, offset=PAGE - SMALL)
    fill(receiver, len(begins), did := "fill small buffers, then larger ones in their place")
    written = written_to(receiver)
    expected = "more than the small ones is written"
    expect_true(len(written) > len(begins), did=did, expected=expected, actual="not so")
    expect_reported(receiver, written, did)


def test_ring_is_made_longer(saver: Saver, receiver: Receiver) -> None:
    """Double an empty ring in pre-copy, receive by all of it: the pages are reported."""
    need_82576(receiver)
    half = ENTRIES // 2
    receiver.resize(half)
    begin(saver, receiver)
    receiver.resize(ENTRIES)
    for index in range(ENTRIES):
        page = index + 1 if index < half else sorted(UNNAMED)[index % len(UNNAMED)]
        receiver.describe(0, index, page)
    receiver.write_tail(ENTRIES - 1)
    did = "double the ring, receive"
    fill(receiver, ENTRIES - 1, did)
    expect_reported(receiver, {*range(1, half + 1), *written_to(receiver)}, did)


def _fill_on(receiver: Receiver, pages: list[int], first: int, entries: int) -> None:
    """Receive into pages by a ring of so many descriptors, from one of them on."""
    for index, page in enumerate(pages, first):
        receiver.describe(0, index % entries, page)
    receiver.write_tail((first + len(pages)) % entries)
    fill(receiver, len(pages), f"receive by a ring of {entries} descriptors")


@pytest.mark.parametrize("head", [0, 1])
def test_ring_is_made_shorter(saver: Saver, receiver: Receiver, head: int) -> None:
    """Halve an empty ring in pre-copy, receive by all of it and on: it is reported, and saved."""
    need_82576(receiver)
    begin(saver, receiver)
    _fill_on(receiver, [1] * head, 0, ENTRIES)
    half = ENTRIES // 2
    receiver.resize(half)
    first = list(range(1, half))
    _fill_on(receiver, first, head, half)
    _fill_on(receiver, sorted(UNNAMED), head + half - 1, half)
    did = "halve the ring, receive by it twice"
    expect_reported(receiver, {*first, *written_to(receiver)}, did)
    with expect_success(did=f"{did}, enter stop-and-copy"):
        saver.enter(Stage.STOP_COPY)
