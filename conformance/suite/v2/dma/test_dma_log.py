# SPDX-License-Identifier: GPL-2.0-only
"""Logging of DMA writes: start, stop, report, and what has nothing to do with it."""

import contextlib
import ctypes
from errno import E2BIG, EFAULT, EINVAL, ENOTTY, EOVERFLOW

import pytest

from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import (
    errno_words,
    expect_equal,
    expect_errno,
    expect_success,
    expect_true,
)
from conformance.plugin.declared import Doorbell
from conformance.plugin.devices import Observe
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.cases import named
from conformance.suite.support.doorbells import expect_written
from conformance.suite.support.life import soon
from conformance.suite.support.memory import read_only
from conformance.suite.v2.cases import by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.dma.log import LOG, can_report, logging, need_report
from conformance.suite.v2.steps import in_time, state_of
from conformance.uapi import constants as c
from conformance.uapi import structs
from conformance.vfio import features
from conformance.vfio.device import Device
from conformance.vfio.features import Range
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, SIZE, GuestMemory
from conformance.vfio.memory.libc import NOWHERE

START = c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START


@pytest.mark.rule("dma-log.whole")
@pytest.mark.parametrize("number", [6, 7, 8])
def test_all_of_it(logger: Device, number: int) -> None:
    """Probe START, STOP and REPORT: all are there."""
    with expect_success(did=f"PROBE feature {number}"):
        features.probe(logger, number)


@pytest.mark.rule("dma-log.independent")
@pytest.mark.parametrize("state", by_state())
def test_in_every_state(reach: Reach, logger: Device, state: State) -> None:
    """Start in each state, go to STOP, stop there: all of it works, the states stay."""
    client = reach(state)
    with logging(logger):
        expect_equal(state_of(client), state, did="START, then GET the state")
        client.set(State.STOP)
        with expect_success(did="REPORT after SET STOP: the log goes on"), can_report():
            features.report_log(logger, LOG)
    expect_equal(state_of(client), State.STOP, did="STOP the log, then GET the state")


@pytest.mark.rule("dma-log.start")
@pytest.mark.parametrize("count", [1, 2, 256])
def test_start(logger: Device, count: int) -> None:
    """Start with 1, 2 and 256 ranges: taken, or refused for the device's own limits."""
    ranges = [Range(IOVA + 2 * at * PAGE, PAGE) for at in range(count)]
    try:
        features.start_log(logger, ranges)
    except OSError as error:
        good = count > 1 and error.errno not in (EFAULT, ENOTTY)
        expect_true(
            good,
            did=f"START with {count} ranges",
            expected="success, or its limit",
            actual=errno_words(error.errno),
        )
        with logging(logger):
            pass


@pytest.mark.rule("dma-log.start-twice")
def test_start_twice(logger: Device) -> None:
    """Start a second time: an error, and the first can be stopped."""
    with logging(logger):
        for _ in range(3):
            with expect_errno(did="START while the log is on"):
                features.start_log(logger, [LOG])


@pytest.mark.rule("dma-log.page-size")
@pytest.mark.parametrize("size", [4096, 1 << 16, 1 << 21])
def test_page_size(logger: Device, size: int) -> None:
    """Start with several sizes of page: one that is a power of two comes back."""
    with logging(logger, Range(IOVA, 1 << 22), page_size=size) as chosen:
        good = chosen and chosen & (chosen - 1) == 0
        expect_true(good, did=f"START with {size}", expected="a power of two", actual=str(chosen))


ODD = {
    "page-size-0": (Range(IOVA, SIZE), 0),
    "page-size-5000": (Range(IOVA, SIZE), 5000),
    "length-0": (Range(IOVA, 0), PAGE),
    "up-to-2^64": (Range((1 << 64) - PAGE, PAGE), PAGE),
}


@pytest.mark.rule("dma-log.odd")
@pytest.mark.parametrize(("asked", "page_size"), named(ODD))
def test_odd(logger: Device, observe: Observe, asked: Range, page_size: int) -> None:
    """Start with odd arguments: an error, or taken; the next log starts."""
    with in_time("START with odd arguments"):
        try:
            features.start_log(logger, [asked], page_size)
        except OSError:
            observe("dma-log.odd", "error")
        else:
            observe("dma-log.odd", "taken")
            features.stop_log(logger)
    with logging(logger):
        pass


BAD: dict[str, tuple[list[Range], int]] = {
    "none": ([], EINVAL),
    "unaligned-iova": ([Range(IOVA + 8, PAGE)], EINVAL),
    "unaligned-length": ([Range(IOVA, PAGE + 8)], EINVAL),
    "overlap": ([Range(IOVA, 2 * PAGE), Range(IOVA + PAGE, PAGE)], EINVAL),
    "twice": ([Range(IOVA, PAGE), Range(IOVA, PAGE)], EINVAL),
    "wrap": ([Range((1 << 64) - PAGE, 2 * PAGE)], EOVERFLOW),
    "too-many": ([Range(IOVA + 2 * at * PAGE, PAGE) for at in range(257)], E2BIG),
}


@pytest.mark.rule("dma-log.ranges-bad")
@pytest.mark.parametrize(("ranges", "wanted"), named(BAD))
def test_bad_ranges(logger: Device, ranges: list[Range], wanted: int) -> None:
    """Start with bad ranges: the errno of each, and nothing is started."""
    with expect_errno(wanted, did=f"START with {ranges[:2]}"):
        features.start_log(logger, ranges)
    with logging(logger):
        pass


@pytest.mark.rule("dma-log.ranges-bad")
def test_bad_pointer(logger: Device) -> None:
    """Start with ranges that are not mapped: EFAULT, and nothing is started."""
    for address in (0, NOWHERE):
        with expect_errno(EFAULT, did=f"START with ranges at {address:#x}"):
            features.start_log_at(logger, address, 1)
    with logging(logger):
        pass


@pytest.mark.rule("dma-log.start-fault")
def test_answer_that_cannot_be_written(logger: Device) -> None:
    """Start with a read-only argument: EFAULT, and logging is off."""
    table = structs.vfio_device_feature_dma_logging_range(iova=IOVA, length=SIZE)
    asked = structs.vfio_device_feature_dma_logging_control(
        page_size=PAGE, num_ranges=1, ranges=ctypes.addressof(table)
    )
    head = structs.vfio_device_feature(argsz=8 + ctypes.sizeof(asked), flags=START)
    did = "START with a read-only argument"
    with read_only(bytes(head) + bytes(asked)) as address, expect_errno(EFAULT, did=did):
        logger.feature_at(address)
    with logging(logger):
        pass


@pytest.mark.rule("dma-log.stop")
def test_stop(logger: Device) -> None:
    """Stop, stop again, report, start: harmless, an error, success."""
    with logging(logger):
        pass
    with in_time("STOP while the log is off"), contextlib.suppress(OSError):
        features.stop_log(logger)
    with expect_errno(did="REPORT after STOP"):
        features.report_log(logger, LOG)
    with logging(logger):
        pass


@pytest.mark.rule("dma-log.report-idle")
def test_report_while_off(logger: Device) -> None:
    """Report while no log is on: an error, and the bitmap is as it was."""
    bits = ctypes.create_string_buffer(b"\xa5" * 64, 64)
    with expect_errno(did="REPORT while logging is off"):
        features.report_log_to(logger, LOG, PAGE, ctypes.addressof(bits))
    expect_equal(bits.raw, b"\xa5" * 64, did="look at the bitmap")


@pytest.mark.rule("dma-log.report", "dma-log.report-clears", "dma-log.quiet-device")
def test_report(logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory) -> None:
    """Have the device write some pages, report twice: those pages, then none."""
    with logging(logger):
        need_report(logger)
        for number, doorbell in enumerate(doorbells):
            doorbell.ring(IOVA + 3 * number * PAGE)
        wanted = {3 * number for number in range(len(doorbells))}
        expect_written(guest_memory, wanted, did="ring doorbells, wait, look at the memory")
        expect_equal(features.report_log(logger, LOG), wanted, did="REPORT")
        expect_equal(features.report_log(logger, LOG), set(), did="REPORT again")


@pytest.mark.rule("dma-log.report", "dma-log.report-clears")
def test_report_of_a_part(
    logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory
) -> None:
    """Track two ranges, have a page of each written, report each by itself: each has its page."""
    if len(doorbells) < 2:
        not_applicable("the device has no two doorbells that were declared")
    halves = [Range(IOVA, SIZE // 4), Range(IOVA + SIZE // 2, SIZE // 2)]
    with logging(logger, *halves):
        need_report(logger)
        for doorbell, half in zip(doorbells, halves, strict=False):
            doorbell.ring(half.iova + 3 * PAGE)
        expect_written(guest_memory, {3, 35}, did="ring two doorbells, wait, look at the memory")
        for half in halves:
            expect_equal(features.report_log(logger, half), {3}, did=f"REPORT {half}")
        for half in halves:
            expect_equal(features.report_log(logger, half), set(), did=f"REPORT {half} again")


@pytest.mark.rule("dma-log.report", "dma-log.report-clears")
def test_report_of_one_page_of_two(
    logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory
) -> None:
    """Have two pages side by side written, report one after the other: each is there, once."""
    pages = [Range(IOVA + page * PAGE, PAGE) for page in (4, 5)]
    with logging(logger):
        need_report(logger)
        for page in pages:
            doorbells[0].ring(page.iova)
            soon(lambda: any(guest_memory.page(4)))
        expect_written(guest_memory, {4, 5}, did="ring for two pages, wait, look at the memory")
        for wanted in ({0}, set[int]()):
            for page in pages:
                expect_equal(features.report_log(logger, page), wanted, did=f"REPORT {page}")


@pytest.mark.rule("dma-log.report-clears")
def test_report_of_nothing(
    logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory
) -> None:
    """Report a range without a page: an error or no bits, and the log keeps what it has."""
    with logging(logger):
        need_report(logger)
        doorbells[0].ring(IOVA + 3 * PAGE)
        expect_written(guest_memory, {3}, did="ring a doorbell, wait, look at the memory")
        bits = ctypes.create_string_buffer(64)
        with in_time("REPORT nothing"), contextlib.suppress(OSError):
            features.report_log_to(logger, Range(IOVA, 0), PAGE, ctypes.addressof(bits))
        expect_equal(bits.raw, bytes(64), did="REPORT nothing, look at the bitmap")
        expect_equal(features.report_log(logger, LOG), {3}, did="REPORT nothing, then all")


@pytest.mark.rule("dma-log.report", "dma-log.start")
def test_range_inside_pages(
    logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory
) -> None:
    """Track from inside a page into another, by pages of a byte: refused, or the page is there."""
    try:
        features.start_log(logger, [Range(IOVA + 3 * PAGE + 100, 2 * PAGE)], 1)
    except OSError:
        return
    need_report(logger)
    doorbells[0].ring(IOVA + 3 * PAGE + 200)
    expect_written(guest_memory, {3}, did="ring a doorbell, wait, look at the memory")
    found = features.report_log(logger, LOG)
    expect_equal(found & {3}, {3}, did="write inside the range, REPORT all")
    features.stop_log(logger)


@pytest.mark.rule("dma-log.report-sets-only")
def test_bits_stay(logger: Device) -> None:
    """Report into a bitmap of ones in the middle of others: nothing is cleared or touched."""
    with logging(logger):
        need_report(logger)
        bits = ctypes.create_string_buffer(b"\xff" * 8 + b"\xa5" * 8, 16)
        features.report_log_to(logger, LOG, PAGE, ctypes.addressof(bits))
    expect_equal(bits.raw, b"\xff" * 8 + b"\xa5" * 8, did="REPORT 64 pages, look at 16 bytes")


@pytest.mark.rule("dma-log.report-page-size")
@pytest.mark.parametrize("size", [1 << shift for shift in (12, 13, 16, 21, 32, 63)])
def test_report_page_sizes(logger: Device, size: int) -> None:
    """Report with powers of two from 4 KiB on: each works."""
    with logging(logger):
        need_report(logger)
        bits = ctypes.create_string_buffer(64)
        with in_time("REPORT"), expect_success(did=f"REPORT with pages of {size:#x}"):
            features.report_log_to(logger, LOG, size, ctypes.addressof(bits))


@pytest.mark.rule("dma-log.report-page-size")
@pytest.mark.parametrize("size", [0, 1, 2048, 4097, 12288])
def test_report_bad_page_sizes(logger: Device, size: int) -> None:
    """Report with pages below 4 KiB or no power of two: EINVAL."""
    with logging(logger):
        need_report(logger)
        bits = ctypes.create_string_buffer(1024)
        with expect_errno(EINVAL, did=f"REPORT with pages of {size}"):
            features.report_log_to(logger, LOG, size, ctypes.addressof(bits))


@pytest.mark.rule("dma-log.report-anywhere")
@pytest.mark.parametrize("shift", [8, 4088, 4096])
def test_bitmap_anywhere(logger: Device, shift: int) -> None:
    """Report into a bitmap at any multiple of 8, across pages: success, nothing around it."""
    with logging(logger):
        need_report(logger)
        bits = ctypes.create_string_buffer(b"\xa5" * 8192, 8192)
        ctypes.memset(ctypes.addressof(bits) + shift, 0, 8)
        with expect_success(did=f"REPORT into a bitmap {shift} bytes into memory"):
            features.report_log_to(logger, LOG, PAGE, ctypes.addressof(bits) + shift)
    around = bits.raw[:shift] + bits.raw[shift + 8 :]
    expect_equal(around, b"\xa5" * (8192 - 8), did="look around the bitmap")


@pytest.mark.rule("dma-log.report-anywhere")
def test_bad_reports(logger: Device) -> None:
    """Report a range that wraps: EOVERFLOW; nothing to no bitmap: EFAULT, or nothing is written."""
    with logging(logger):
        need_report(logger)
        bits = ctypes.create_string_buffer(64)
        wraps = Range((1 << 64) - PAGE, 2 * PAGE)
        with expect_errno(EOVERFLOW, did="REPORT a range that wraps"):
            features.report_log_to(logger, wraps, PAGE, ctypes.addressof(bits))
        try:
            features.report_log_to(logger, LOG, PAGE, NOWHERE)
        except OSError as error:  # newer kernels do not look at it before there is a bit to set
            expect_equal(error.errno, EFAULT, did="REPORT nothing to an unmapped bitmap, errno")


@pytest.mark.rule("dma-log.report-outside")
def test_outside(logger: Device, observe: Observe) -> None:
    """Report a range that is not tracked: an error, or no bits."""
    with logging(logger):
        need_report(logger)
        try:
            found = features.report_log(logger, Range(IOVA + (1 << 30), SIZE))
        except OSError:
            observe("dma-log.report-outside", "error")
            return
        expect_equal(found, set(), did="REPORT a range that is not tracked")
        observe("dma-log.report-outside", "no bits")


@pytest.mark.rule("dma-log.report-failed")
def test_after_a_failed_report(
    logger: Device, doorbells: list[Doorbell], guest_memory: GuestMemory, observe: Observe
) -> None:
    """Report a page to no bitmap, then well: the log goes on or is lost."""
    with logging(logger):
        need_report(logger)
        doorbells[0].ring(IOVA)
        expect_written(guest_memory, {0}, did="ring a doorbell, wait, look at the memory")
        observe("dma-log.report-failed", after_a_report_to_no_bitmap(logger))


def after_a_report_to_no_bitmap(logger: Device) -> str:
    """Return what comes of the log; the core of VFIO, not the driver, decides on the error."""
    try:
        features.report_log_to(logger, LOG, PAGE, NOWHERE)
    except OSError as error:
        expect_equal(error.errno, EFAULT, did="REPORT a page to an unmapped bitmap, errno")
    else:
        return "no-error"
    try:
        features.report_log(logger, LOG)
    except OSError:
        return "lost"
    return "kept"


@pytest.mark.rule("dma-log.close")
def test_close_ends_it(client: Client, logger: Device) -> None:
    """Close and open with a log on: it is off; reset with a log on: STOP, START works."""
    features.start_log(logger, [LOG])
    client.close()
    logger.reopen()
    with logging(logger):
        logger.reset()
    with logging(logger):
        pass
