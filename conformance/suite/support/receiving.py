# SPDX-License-Identifier: GPL-2.0-only
"""Steps of tests in which the device receives while it is saved."""

import random
import time
from collections.abc import Callable, Iterable
from typing import Final

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_true
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.copier import Copier
from conformance.suite.support.life import SOON, soon
from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import PAGES
from conformance.vfio.pci.config import MASTER, Config
from conformance.vfio.receiving import choose, i82576
from conformance.vfio.receiving.receiver import Receiver
from conformance.vfio.receiving.traffic import Traffic

#: Buffers a second.
FAST: Final = 2000
#: Seconds that frames come while none may be written.
_WHILE: Final = 0.1
#: Times that buffers are posted and filled.
_TIMES: Final = 8
#: No descriptor names the last pages, unless a test does itself.
FIRST_UNNAMED: Final = PAGES - 8
UNNAMED: Final = frozenset(range(FIRST_UNNAMED, PAGES))


def traffic_of(device: Device, interface: str | None) -> Traffic:
    """Return what makes the device receive; skips without it."""
    try:
        return choose.traffic_of(device, interface)
    except choose.NoTraffic as error:
        pytest.skip(str(error))


def begin(saver: Saver, receiver: Receiver) -> None:
    """Enter pre-copy, and leave the test if every page is reported there."""
    saver.enter(Stage.PRE_COPY)
    need_narrowed(receiver)


def need_narrowed(receiver: Receiver) -> None:
    """Leave the test if every page is reported."""
    receiver.memory.dirty()
    if receiver.memory.dirty() >= UNNAMED:
        not_applicable("the kernel reports every mapped page: the driver narrows nothing")


def wait_for(receiver: Receiver, number: int, did: str) -> None:
    """Wait until the device has filled so many buffers since it was made."""
    expect_true(
        soon(lambda: receiver.traffic.count() >= number),
        did=did,
        expected=f"write {number - 1} is done within {SOON:g} s",
        actual=f"{receiver.traffic.count()} were done; {receiver.traffic.effort()}",
    )


def need_82576(receiver: Receiver) -> None:
    """Leave the test of registers of an 82576 virtual function on another device."""
    if not i82576.is_one(receiver.device):
        pytest.skip("what other registers of this device's queue do is not known")


def fill(receiver: Receiver, number: int, did: str) -> None:
    """Have frames come until the device has filled so many buffers more."""
    first = receiver.traffic.count()
    receiver.traffic.set_rate(FAST)
    wait_for(receiver, first + number, did)
    receiver.traffic.set_rate(0)


def expect_none_received(receiver: Receiver, did: str) -> None:
    """Set bus master, enable the queue and post, have frames come: demand that none is written."""
    __tracebackhide__ = True
    config = Config(receiver.device)
    config.set_command(off=MASTER)
    config.set_command(on=MASTER)
    receiver.device.region(0).write_int(i82576.ENABLES, i82576.ENABLE)
    receiver.post(sorted(UNNAMED))
    receiver.traffic.set_rate(FAST)
    time.sleep(_WHILE)
    receiver.traffic.set_rate(0)
    did = f"{did}, set bus master, enable the queue, post, have frames come"
    expect_equal(sorted(written_to(receiver)), [], did=f"{did}, look at the memory")


def describe_unnamed(receiver: Receiver, index: int = 0) -> int:
    """Write descriptors, from one on, for the pages that nothing named before; return how many."""
    for number, page in enumerate(sorted(UNNAMED), index):
        receiver.describe(0, number, page)
    return len(UNNAMED)


def written_to(receiver: Receiver) -> set[int]:
    """Return the pages that no descriptor named before a test did, and that are not zero."""
    return {page for page in UNNAMED if any(receiver.memory.page(page))}


def expect_reported(receiver: Receiver, pages: set[int], did: str) -> None:
    """Demand that the bitmap names these pages."""
    __tracebackhide__ = True
    missing = pages - receiver.memory.dirty()
    expect_equal(sorted(missing), [], did=f"{did}, look for missing pages")


def receive(receiver: Receiver, rng: random.Random) -> None:
    """Post some buffers, and wait until one of them is filled, at least."""
    receiver.take()
    posted = receiver.outstanding()
    before = receiver.traffic.count()
    receiver.refill(rng, rng.randrange(1, 16))
    if receiver.outstanding() != posted:
        wait_for(receiver, before + 1, "post buffers in pre-copy")


def receive_elsewhere(saver: Saver, receiver: Receiver, rng: random.Random) -> set[int]:
    """Receive in pre-copy, stop; return what is reported of pages that no descriptor named."""
    receiver.traffic.set_rate(FAST)
    receiver.refill(rng)
    begin(saver, receiver)
    for _ in range(_TIMES):
        receive(receiver, rng)
    stray = receiver.memory.dirty() & UNNAMED
    saver.enter(Stage.STOP_COPY)
    return stray | receiver.memory.dirty() & UNNAMED


def copy_in_rounds(saver: Saver, receiver: Receiver, rng: random.Random) -> Copier:
    """Copy memory by the bitmap in rounds, with traffic until the device stops."""
    copier = Copier(receiver.memory)
    for _ in range(rng.randrange(1, 5)):
        receiver.take()
        receiver.refill(rng, rng.randrange(1, 20))
        time.sleep(rng.random() * 0.01)
        copier.sync()
    saver.enter(Stage.STOP_COPY)
    copier.sync()
    return copier


def copy_and_compare(
    saver: Saver, receiver: Receiver, rng: random.Random, numbers: Iterable[int]
) -> None:
    """Copy memory by what is reported, a migration for each number, each at a rate of its own."""
    __tracebackhide__ = True
    for number in numbers:
        rate = rng.randrange(50, 4000)
        receiver.traffic.set_rate(rate)
        receiver.refill(rng)
        begin(saver, receiver)
        copier = copy_in_rounds(saver, receiver, rng)
        did = f"migration {number}, {rate} buffers a second: compare the copy"
        expect_equal(copier.different(), [], did=did)
        saver.enter(Stage.RUNNING)


def _by_itself(receiver: Receiver, tail: int) -> None:
    """Write the tail, then enable the queue."""
    receiver.write_tail(tail)
    receiver.device.region(0).write_int(i82576.ENABLES, i82576.ENABLE)


def _with_the_tail(receiver: Receiver, tail: int) -> None:
    """Write the tail and enable the queue by one call."""
    between = i82576.ENABLES - i82576.TAIL - 4
    data = tail.to_bytes(4, "little") + bytes(between) + i82576.ENABLE.to_bytes(4, "little")
    receiver.device.region(0).write_exact(i82576.TAIL, data)


#: Ways to enable a queue of an 82576 with buffers up to a tail.
ENABLING: Final[dict[str, Callable[[Receiver, int], None]]] = {
    "by-itself": _by_itself,
    "with-the-tail": _with_the_tail,
}
