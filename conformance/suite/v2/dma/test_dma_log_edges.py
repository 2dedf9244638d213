# SPDX-License-Identifier: GPL-2.0-only
"""Logs of DMA writes: edges of ranges, parts of a page, ranges that are huge, no memory."""

from errno import EBUSY, EFAULT

import pytest

from conformance.kernel import faults
from conformance.plugin.checks import errno_words, expect_equal, expect_success, expect_true
from conformance.plugin.declared import Doorbell
from conformance.suite.support.doorbells import expect_written
from conformance.suite.support.failing import expect_clean, near
from conformance.suite.v2.dma.log import LOG, logging, need_report
from conformance.suite.v2.steps import in_time
from conformance.uapi import constants as c
from conformance.vfio import features
from conformance.vfio.device import Device
from conformance.vfio.features import Range
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES, GuestMemory

HALF = PAGES // 2
#: Two ranges without a page between them.
HALVES = (Range(IOVA, HALF * PAGE), Range(IOVA + HALF * PAGE, HALF * PAGE))
STOP = c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP


@pytest.mark.rule("dma-log.report")
@pytest.mark.parametrize("page", [0, HALF - 1, HALF, PAGES - 1])
def test_edges(
    logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory, page: int
) -> None:
    """Track two ranges, have the first or last page of one written: that alone is reported."""
    with logging(logger, *HALVES):
        need_report(logger)
        doorbells[0].ring(IOVA + page * PAGE)
        expect_written(guest_memory, {page}, did="ring a doorbell, wait, look at the memory")
        for half in HALVES:
            wanted = {page % HALF} if half is HALVES[page // HALF] else set[int]()
            did = f"have page {page} written, REPORT {half}"
            expect_equal(features.report_log(logger, half), wanted, did=did)


@pytest.mark.rule("dma-log.report")
@pytest.mark.parametrize("at", [0, 100, PAGE - 1])
def test_report_of_a_byte(
    logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory, at: int
) -> None:
    """Have a page written, report one byte of it: refused, or that page and no other."""
    with logging(logger):
        need_report(logger)
        doorbells[0].ring(IOVA + 3 * PAGE)
        expect_written(guest_memory, {3}, did="ring a doorbell, wait, look at the memory")
        try:
            found = features.report_log(logger, Range(IOVA + 3 * PAGE + at, 1), PAGE)
        except OSError:
            return
        expect_equal(found, {0}, did=f"have page 3 written, REPORT its byte {at}")


@pytest.mark.rule("dma-log.start")
@pytest.mark.parametrize("size", [1 << 40, 1 << 48, 1 << 62], ids=hex)
def test_huge_range(logger: Device, size: int) -> None:
    """Start with a range of a size that no memory has: taken, or refused; the next one starts."""
    with in_time(f"START with {size:#x} bytes"):
        try:
            features.start_log(logger, [Range(0, size)])
        except OSError as error:
            good = error.errno not in (EFAULT, EBUSY)
            did, actual = f"START with {size:#x} bytes", errno_words(error.errno)
            expect_true(good, did=did, expected="success, or its limit", actual=actual)
        else:
            features.stop_log(logger)
    with logging(logger):
        pass


@pytest.mark.rule("dma-log.stop")
def test_result_of_stop(logger: Device) -> None:
    """Start, stop: the latter returns 0."""
    features.start_log(logger, [LOG])
    with expect_success(did="STOP"):
        result = logger.feature(STOP, bytearray())
    expect_equal(result, 0, did="STOP, what it returns")


@pytest.mark.rule("robust.allocation")
@pytest.mark.skipif(bool(faults.missing()), reason=faults.missing() or "no reason")
def test_start_without_memory(logger: Device) -> None:
    """Start while every allocation fails once: ENOMEM or success; in the end it starts."""
    expect_clean(
        lambda: features.start_log(logger, list(HALVES)),
        did="START",
        undo=lambda _size: features.stop_log(logger),
        sweep=near(logger),
    )
    with logging(logger, *HALVES):
        pass
