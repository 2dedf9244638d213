# SPDX-License-Identifier: GPL-2.0-only
"""What a driver cannot follow while the device receives: never is a written page reported clean."""

import ctypes
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Timer

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_success
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.cases import named
from conformance.suite.support.power import in_d3hot
from conformance.suite.support.receiving import (
    FAST,
    UNNAMED,
    begin,
    describe_unnamed,
    expect_reported,
    fill,
    need_narrowed,
    wait_for,
    written_to,
)
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES
from conformance.vfio.memory.mapping import Mapping, anonymous
from conformance.vfio.memory.userfault import Userfault
from conformance.vfio.pci.config import Config
from conformance.vfio.receiving.receiver import ENTRIES, Receiver
from conformance.vfio.system import sysfs

pytestmark = [pytest.mark.rule("dirty.doubt"), pytest.mark.usefixtures("apart")]

#: The page behind the guest's memory, mapped for the device by itself.
BEHIND = PAGES
#: Bytes; most that a descriptor can say.
HUGE = 0xFFFF
#: Seconds that a page is missing, or that the device has for what it may not do.
MISSING = 0.05


@pytest.fixture
def behind(receiver: Receiver) -> Iterator[Mapping]:
    """Provide one page more, which a test may take from the process."""
    container = receiver.memory.container
    with anonymous(PAGE) as page:
        container.map_dma(page.address, IOVA + BEHIND * PAGE, PAGE)
        yield page
        container.unmap_dma(IOVA + BEHIND * PAGE, PAGE)


def _move_ring(receiver: Receiver, page: Mapping) -> None:
    """Have the device go on in another ring, whose buffers no tail has posted."""
    ring, *buffers = sorted(UNNAMED)
    receiver.memory.write(ring * PAGE, receiver.ring(ring, buffers))
    assert page.size == PAGE
    receiver.set_base(ring)


def _lose_memory(receiver: Receiver, page: Mapping) -> None:
    """Post a buffer whose memory the process has unmapped; the IOMMU still has it."""
    page.munmap()
    receiver.post([BEHIND])


def _lose_and_go_on(receiver: Receiver, page: Mapping) -> None:
    """Post others behind it, too."""
    page.munmap()
    receiver.post([BEHIND, *sorted(UNNAMED)])


def _huge_buffer(receiver: Receiver, page: Mapping) -> None:
    """Post a buffer that reaches far beyond what is mapped."""
    assert page.size == PAGE
    receiver.post([BEHIND], size=HUGE)


def _tail_out_of_range(receiver: Receiver, page: Mapping) -> None:
    """Write tails that the ring does not have, then a right one."""
    assert page.size == PAGE
    for tail in (ENTRIES, 2 * ENTRIES + 1):
        receiver.write_tail(tail)
    receiver.post(sorted(UNNAMED)[:4])


def _ring_resized(receiver: Receiver, page: Mapping) -> None:
    """Halve the ring while it is on, and go on with it."""
    assert page.size == PAGE
    receiver.resize(ENTRIES // 2)
    receiver.post(sorted(UNNAMED)[:4])


def _reported(container: Container) -> set[int]:
    found = container.dirty_pages(IOVA, PAGES * PAGE)
    return found | {BEHIND + page for page in container.dirty_pages(IOVA + PAGES * PAGE, PAGE)}


def _stop_and_look(saver: Saver, receiver: Receiver, first: int) -> None:
    """Enter stop-and-copy; where that is taken, demand that each page written since is reported."""
    __tracebackhide__ = True
    error = saver.attempt(Stage.STOP_COPY)
    written = receiver.pages(first, receiver.traffic.count())
    missing = written - _reported(receiver.memory.container) if error is None else set()
    expect_equal(sorted(missing), [], did="enter stop-and-copy, look for missing pages")


@pytest.mark.parametrize(
    "strange",
    named(
        {
            "ring-moved": _move_ring,
            "memory-unmapped": _lose_memory,
            "memory-unmapped-among-others": _lose_and_go_on,
            "huge-buffer": _huge_buffer,
            "tail-out-of-range": _tail_out_of_range,
            "ring-resized": _ring_resized,
        }
    ),
)
def test_nothing_written_is_clean(
    saver: Saver,
    receiver: Receiver,
    behind: Mapping,
    rng: random.Random,
    strange: Callable[[Receiver, Mapping], None],
) -> None:
    """Do something strange in pre-copy: what is written is reported, or the save fails."""
    receiver.refill(rng, 8)
    begin(saver, receiver)
    first = receiver.traffic.count()
    strange(receiver, behind)
    receiver.traffic.set_rate(FAST)
    wait_for(receiver, first + receiver.waiting, "receive after something strange")
    _stop_and_look(saver, receiver, first)


@pytest.mark.parametrize(
    ("page", "posted"), named({"in-use": (max(UNNAMED), 8), "to-nowhere": (3 * PAGES, 0)})
)
def test_a_new_save_is_as_any(
    saver: Saver, receiver: Receiver, rng: random.Random, page: int, posted: int
) -> None:
    """Have the driver lose a ring, set the device running, set the ring up anew: it is saved."""
    receiver.refill(rng, posted)
    begin(saver, receiver)
    receiver.set_base(page)
    did = "move the ring, enter stop-and-copy"
    stage = Stage.STOP_COPY if saver.attempt(Stage.STOP_COPY) is None else Stage.PRE_COPY
    expect_equal(saver.stage, stage, did=f"{did}, look where the device is")
    saver.enter(Stage.RUNNING)
    receiver.restart()
    receiver.refill(rng, 8)
    begin(saver, receiver)
    with expect_success(did=f"{did}, give up, set the ring up anew, save"):
        saver.enter(Stage.STOP_COPY)


def test_memory_is_taken(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Unmap posted buffers for the device in pre-copy: the save fails or succeeds, in time."""
    container = receiver.memory.container
    with anonymous(PAGE) as page:
        container.map_dma(page.address, IOVA + BEHIND * PAGE, PAGE)
        receiver.refill(rng, 4)
        begin(saver, receiver)
        receiver.post([BEHIND])
        first = receiver.traffic.count()
        container.unmap_dma(IOVA + BEHIND * PAGE, PAGE)
        receiver.traffic.set_rate(FAST)
        wait_for(receiver, first + receiver.waiting - 1, "unmap the last buffer, receive")
    written = receiver.pages(first, receiver.traffic.count())
    if saver.attempt(Stage.STOP_COPY) is None:
        expect_reported(receiver, written, "enter stop-and-copy")


def test_memory_lost_before(saver: Saver, receiver: Receiver, behind: Mapping) -> None:
    """Post a buffer, unmap its memory in the process, begin to save: no written page is clean."""
    receiver.post([BEHIND])
    behind.munmap()
    begin(saver, receiver)
    first = receiver.traffic.count()
    fill(receiver, 1, "receive into memory that the process has lost")
    _stop_and_look(saver, receiver, first)


def test_memory_is_another(saver: Saver, receiver: Receiver) -> None:
    """Unmap a posted buffer in pre-copy, map another page there, receive: it is not clean."""
    container = receiver.memory.container
    place = IOVA + BEHIND * PAGE
    with anonymous(PAGE) as page, anonymous(PAGE) as other:
        container.map_dma(page.address, place, PAGE)
        begin(saver, receiver)
        receiver.post([BEHIND])
        container.unmap_dma(place, PAGE)
        container.map_dma(other.address, place, PAGE)
        first = receiver.traffic.count()
        fill(receiver, 1, "map another page in the place of a buffer, receive")
        _stop_and_look(saver, receiver, first)
        container.unmap_dma(place, PAGE)


def _go_on(saver: Saver, receiver: Receiver, before: bool) -> None:
    """Enter pre-copy, and go on in the ring behind the memory before that or after it."""
    if before:
        receiver.set_base(BEHIND)
    saver.enter(Stage.PRE_COPY)
    if not before:
        need_narrowed(receiver)
        receiver.set_base(BEHIND)


@pytest.mark.parametrize("before", [True, False], ids=["before", "in-pre-copy"])
def test_ring_that_is_only_read(saver: Saver, receiver: Receiver, before: bool) -> None:
    """Go on in a ring that is mapped only to be read, receive: it is not clean, and all live."""
    container = receiver.memory.container
    place = IOVA + BEHIND * PAGE
    with anonymous(PAGE) as page:
        ring = receiver.ring(BEHIND, sorted(UNNAMED))
        ctypes.memmove(page.address, ring, len(ring))
        container.map_dma(page.address, place, PAGE, write=False)
        _go_on(saver, receiver, before)
        receiver.write_tail(len(UNNAMED))
        receiver.traffic.set_rate(FAST)
        time.sleep(MISSING)  # some devices write buffers, some stop at such a ring
        if saver.attempt(Stage.STOP_COPY) is None:
            did = "receive by a ring that is only read, enter stop-and-copy"
            expect_reported(receiver, written_to(receiver), did)
        container.unmap_dma(place, PAGE)


def test_reset_after_a_doubt(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Have the driver lose a ring in pre-copy, reset, stop for a save: that is taken."""
    receiver.refill(rng, 8)
    begin(saver, receiver)
    receiver.set_base(max(UNNAMED))
    receiver.device.reset()
    saver.close()
    with expect_success(did="move a ring in use in pre-copy, reset, enter stop-and-copy"):
        saver.enter(Stage.STOP_COPY)


def test_ring_that_is_missing_for_a_while(
    saver: Saver, receiver: Receiver, behind: Mapping, rng: random.Random
) -> None:
    """Go on in a ring whose memory the process lacks for a while: no written page is clean."""
    ring = receiver.ring(BEHIND, sorted(UNNAMED))
    ctypes.memmove(behind.address, ring, len(ring))
    receiver.refill(rng, 8)
    begin(saver, receiver)
    first = receiver.traffic.count()
    with Userfault(behind.address, ring.ljust(PAGE, b"\0"), MISSING):
        receiver.set_base(BEHIND)
        receiver.traffic.set_rate(FAST)
        wait_for(receiver, first + receiver.waiting, "receive by a ring that is missing")
        _stop_and_look(saver, receiver, first)


def test_tail_from_memory_that_changes(saver: Saver, receiver: Receiver) -> None:
    """Write the tail from memory that changes meanwhile: no page that is then written is clean."""
    few, first = 4, receiver.traffic.count()
    for index, page in enumerate([*range(1, few + 1), *sorted(UNNAMED)]):
        receiver.describe(0, index, page)
    begin(saver, receiver)
    with anonymous(2 * PAGE) as memory:
        # Who reads it waits for the second half of the number, whose first half changes then.
        place, more = memory.address + PAGE - 2, few + len(UNNAMED)
        ctypes.memmove(place, few.to_bytes(2, "little"), 2)
        change = Timer(MISSING / 2, ctypes.memmove, (place, more.to_bytes(2, "little"), 2))
        with Userfault(memory.address + PAGE, bytes(PAGE), MISSING):
            change.start()
            receiver.device.region(0).write_from(place, receiver.TAIL, 4)
            change.join()
    fill(receiver, more, "write the tail from memory that changes, receive")
    _stop_and_look(saver, receiver, first)


def test_written_while_it_sleeps(saver: Saver, receiver: Receiver) -> None:
    """Write to a queue in D3hot, receive in D0: what is written is reported, or the save fails."""
    if not sysfs.is_pci(receiver.device.bdf):
        not_applicable("this is not a PCI function")
    begin(saver, receiver)
    receiver.post(sorted(UNNAMED))
    with in_d3hot(Config(receiver.device)), suppress(OSError):
        receiver.set_base(0)
    receiver.memory.dirty()
    first = receiver.traffic.count()
    fill(receiver, len(UNNAMED), "write the address of a ring in D3hot, receive in D0")
    _stop_and_look(saver, receiver, first)


def test_posted_while_it_sleeps(saver: Saver, receiver: Receiver) -> None:
    """Post in D3hot, which fails, then other buffers in D0: reported, or the save fails."""
    if not sysfs.is_pci(receiver.device.bdf):
        not_applicable("this is not a PCI function")
    begin(saver, receiver)
    for index in range(len(UNNAMED)):
        receiver.describe(0, index, index + 1)
    with in_d3hot(Config(receiver.device)), suppress(OSError):
        receiver.write_tail(len(UNNAMED))
    number, first = describe_unnamed(receiver), receiver.traffic.count()
    receiver.memory.dirty()
    receiver.write_tail(number)
    fill(receiver, number, did := "post in D3hot, post others in D0, receive")
    if saver.attempt(Stage.STOP_COPY) is None:
        written = receiver.pages(first, first + number)
        expect_reported(receiver, written, f"{did}, enter stop-and-copy")
