# SPDX-License-Identifier: GPL-2.0-only
"""Which pages a device writes while it is saved and receives: the trapped registers say it."""

import itertools
import random
from dataclasses import dataclass

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_true
from conformance.suite.support.life import soon
from conformance.suite.support.receiving import (
    FAST,
    begin,
    copy_and_compare,
    copy_in_rounds,
    receive,
    receive_elsewhere,
    wait_for,
)
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.rule("dirty.trapped"), pytest.mark.usefixtures("apart")]

#: Looks at the bitmap in a test.
LOOKS = 8
#: Migrations of a test, each at a rate of its own, in `PARTS` tests.
MIGRATIONS, PARTS = 25, 4


@dataclass(frozen=True)
class Look:
    """What the bitmap said, and the numbers of the first writes after it was begun and ended."""

    begun: int
    pages: set[int]
    ended: int


def _look(receiver: Receiver) -> Look:
    begun = receiver.traffic.count()
    pages = receiver.memory.dirty()
    return Look(begun, pages, receiver.traffic.count())


def test_written_pages_are_reported(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Post and receive in pre-copy, look often: each written page is in the bitmap of its time."""
    receiver.refill(rng)
    begin(saver, receiver)
    receiver.traffic.set_rate(FAST)
    looks = [_look(receiver)]
    for _ in range(LOOKS):
        receive(receiver, rng)
        looks.append(_look(receiver))
    for old, new in itertools.pairwise(looks):
        sure, either = receiver.pages(old.ended, new.begun), receiver.pages(old.begun, old.ended)
        missing = sure - new.pages | either - old.pages - new.pages
        expect_equal(sorted(missing), [], did="receive, read the bitmap, look for missing pages")


def test_buffers_posted_before_are_followed(
    saver: Saver, receiver: Receiver, rng: random.Random
) -> None:
    """Post, begin to save, then receive: the pages are reported although no tail was written."""
    receiver.refill(rng)
    posted = receiver.outstanding()
    begin(saver, receiver)
    first = receiver.traffic.count()
    receiver.traffic.set_rate(FAST)
    wait_for(receiver, first + len(posted), "post buffers, enter pre-copy, receive")
    found = receiver.memory.dirty()
    written = receiver.pages(first, receiver.traffic.count())
    expect_equal(sorted(written), sorted(posted), did="look at what the device wrote")
    expect_equal(sorted(written - found), [], did="read the bitmap, look for missing pages")


def test_other_pages_are_not_reported(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Receive in pre-copy: pages that no descriptor named since saving began are not reported."""
    stray = receive_elsewhere(saver, receiver, rng)
    expect_equal(sorted(stray), [], did="receive into other pages, read the bitmap")


@pytest.mark.parametrize("part", range(PARTS))
def test_copy_by_the_bitmap(
    saver: Saver, receiver: Receiver, rng: random.Random, part: int
) -> None:
    """Copy memory by the bitmap, in rounds, under traffic of random rates: it is the same."""
    copy_and_compare(saver, receiver, rng, range(part * MIGRATIONS, (part + 1) * MIGRATIONS))


def _hand_over(saver: Saver, there: Saver, receiver: Receiver) -> None:
    """Bring a device that was stopped to the other function, which goes on with the queue."""
    stream = saver.read_all()
    there.enter(Stage.RESUMING)
    there.give(stream)
    receiver.move(there.device)
    there.enter(Stage.RUNNING)
    receiver.announce()
    receiver.traffic.set_rate(FAST)


def test_traffic_goes_on_there(
    saver: Saver, receiver: Receiver, peer_saver: Saver, rng: random.Random
) -> None:
    """Migrate under traffic: each buffer is filled once, here or there, and none is lost."""
    both = (receiver.traffic, receiver.traffic.there(peer_saver.device))
    before = sum(each.count() for each in both)
    receiver.traffic.set_rate(FAST // 4)
    receiver.refill(rng)
    saver.enter(Stage.PRE_COPY)
    copy_in_rounds(saver, receiver, rng)
    _hand_over(saver, peer_saver, receiver)
    receiver.refill(rng, 4)
    did = f"migrate with buffers posted, {receiver.total} in all"
    _expect_all(receiver, did)
    filled = sum(each.count() for each in both) - before
    expect_equal((filled, receiver.taken), (receiver.total,) * 2, did=f"{did}, count them")


def _expect_all(receiver: Receiver, did: str) -> None:
    """Wait for all buffers, and demand that no message came twice, and none before an older one."""
    __tracebackhide__ = True
    arrived = soon(lambda: receiver.take() is not None and not receiver.outstanding())
    receiver.stop()
    expect_true(arrived, did=did, expected="all are done", actual="some are not")
    for bdf, numbers in receiver.messages.items():
        ordered = sorted(set(numbers))
        expect_equal(numbers, ordered, did=f"{did}, look at the messages to {bdf}")
