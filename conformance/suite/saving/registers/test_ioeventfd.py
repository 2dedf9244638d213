# SPDX-License-Identifier: GPL-2.0-only
"""A write to a trapped register that the kernel makes when an eventfd is signalled."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EBUSY

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Scratch
from conformance.suite.support.life import WHILE, soon
from conformance.vfio.ioeventfd import IoEventfd


@contextmanager
def eventfd_of(place: Scratch) -> Iterator[IoEventfd | None]:
    """Ask for an eventfd whose signal sets all bits of a register; None where that is refused."""
    try:
        eventfd = IoEventfd(place.region, place.offset, place.mask)
    except OSError:
        yield None
        return
    with eventfd:
        yield eventfd


@pytest.mark.rule("saving.ioeventfd")
@pytest.mark.parametrize("stage", [Stage.STOP_COPY, Stage.PRE_COPY], ids=lambda one: one.value)
def test_asked_for_before_a_save(saver: Saver, trapped_place: Scratch, stage: Stage) -> None:
    """Ask for an eventfd that writes a trapped register, save, signal it: nothing is written."""
    if not saver.offers(stage):
        pytest.skip(f"the device has no {stage.value}")
    trapped_place.write(0)
    with eventfd_of(trapped_place) as eventfd:
        refused = saver.attempt(stage)
        if eventfd and refused is None:
            eventfd.signal()
            time.sleep(WHILE)
        now = trapped_place.read()
    did = f"have an eventfd write {trapped_place.offset:#x}, {saver.words(stage)}"
    expect_equal(refused, EBUSY if eventfd and refused else None, did=did)
    expect_equal(now, 0, did=f"{did}, signal it, read")


@pytest.mark.rule("saving.ioeventfd")
def test_asked_for_while_saving(saver: Saver, trapped_place: Scratch) -> None:
    """Save, ask for an eventfd that writes a trapped register, signal it: nothing is written."""
    trapped_place.write(0)
    saver.enter(saver.first)
    with eventfd_of(trapped_place) as eventfd:
        if eventfd:
            eventfd.signal()
            time.sleep(WHILE)
        now = trapped_place.read()
    did = f"{saver.words(saver.first)}, have an eventfd write {trapped_place.offset:#x}"
    expect_equal(now, 0, did=f"{did}, signal it, read")


@pytest.mark.rule("saving.ioeventfd")
def test_signalled_while_it_runs(saver: Saver, trapped_place: Scratch) -> None:
    """Ask for an eventfd that writes a trapped register, signal it: refused, or it is written."""
    trapped_place.write(0)
    with eventfd_of(trapped_place) as eventfd:
        if eventfd:
            eventfd.signal()
            soon(lambda: trapped_place.read() == trapped_place.mask)
        now = trapped_place.read()
    did = f"in {saver.stage}, have an eventfd write {trapped_place.offset:#x}, signal it"
    expect_equal(now, trapped_place.mask if eventfd else 0, did=f"{did}, read")
