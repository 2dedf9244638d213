# SPDX-License-Identifier: GPL-2.0-only
"""What reaches the device of accesses to trapped registers, on a device that counts them."""

from errno import EBUSY

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.model.layout import PAGE
from conformance.plugin.checks import expect_equal, expect_errno
from conformance.plugin.declared import Scratch
from conformance.suite.support.cases import ALL_STAGES
from conformance.vfio.device import Device
from conformance.vfio.labdevice.counters import AccessCounters


@pytest.fixture
def counters(device: Device) -> AccessCounters:
    """Look at the device's own counts; skips if it has none, as all hardware."""
    found = AccessCounters.of(device)
    if found is None:
        pytest.skip("this device does not count the accesses to its registers")
    return found


@pytest.mark.rule("saving.trapped-access")
@ALL_STAGES
def test_write_arrives_once(
    saver: Saver, counters: AccessCounters, trapped_place: Scratch, stage: Stage
) -> None:
    """Write a trapped register three times in each stage: three writes arrive, and no read."""
    saver.reach(stage)
    value = 0x35C6A9B8 & trapped_place.mask
    before = counters.read(trapped_place.region, trapped_place.offset)
    for flip in (0, trapped_place.mask, 0):
        trapped_place.region.write_int(trapped_place.offset, value ^ flip)
    after = counters.read(trapped_place.region, trapped_place.offset)
    did = f"write {trapped_place.offset:#x} 3 times in {stage.value}"
    expect_equal(after.writes - before.writes, 3, did=f"{did}, count writes")
    expect_equal(after.reads - before.reads, 0, did=f"{did}, count reads")
    expect_equal(after.value & trapped_place.mask, value, did=f"{did}, look at the device")


@pytest.mark.rule("saving.trapped-access")
@ALL_STAGES
def test_read_arrives_once(
    saver: Saver, counters: AccessCounters, trapped_place: Scratch, stage: Stage
) -> None:
    """Read a trapped register in each stage: the device is read once and not written."""
    saver.reach(stage)
    before = counters.read(trapped_place.region, trapped_place.offset)
    value = trapped_place.region.read_int(trapped_place.offset)
    after = counters.read(trapped_place.region, trapped_place.offset)
    did = f"read {trapped_place.offset:#x} in {stage.value}"
    expect_equal(after.reads - before.reads, 1, did=f"{did}, count reads")
    expect_equal(after.writes - before.writes, 0, did=f"{did}, count writes")
    expect_equal(value, after.value, did=f"{did}, look at the device")


@pytest.mark.rule("saving.trapped-access")
def test_refusal_touches_nothing(
    saver: Saver, counters: AccessCounters, trapped_place: Scratch
) -> None:
    """Be refused to save while the register is mapped: the device is not written."""
    page = trapped_place.offset - trapped_place.offset % PAGE
    with trapped_place.region.map(page, PAGE) as mapping:
        before = counters.read(trapped_place.region, trapped_place.offset)
        with expect_errno(EBUSY, did=f"{saver.words(saver.first)} while it is mapped"):
            saver.enter(saver.first)
        mapping.store(trapped_place.offset - page, 0x12 & trapped_place.mask)
    after = counters.read(trapped_place.region, trapped_place.offset)
    expect_equal(
        after.writes - before.writes, 1, did="be refused, then store by the mapping, count writes"
    )
