# SPDX-License-Identifier: GPL-2.0-only
"""Steps of tests with a log of DMA writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOTTY, EOPNOTSUPP
from typing import Final

from conformance.plugin.checks import expect_success
from conformance.plugin.protocols import not_applicable
from conformance.vfio import features
from conformance.vfio.device import Device
from conformance.vfio.features import Range
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, SIZE

#: All of the guest's memory.
LOG: Final = Range(IOVA, SIZE)


@contextmanager
def can_report() -> Iterator[None]:
    """Let a block with a REPORT be without one where the kernel has none."""
    try:
        yield
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, ENOTTY):
            raise


def need_report(device: Device) -> None:
    """Leave the test where the kernel cannot report, while a log of the device is on."""
    try:
        features.report_log(device, LOG)
    except OSError as error:
        if error.errno in (EOPNOTSUPP, ENOTTY):
            not_applicable("this kernel is built without what REPORT needs (IOMMUFD_DRIVER)")
        raise


@contextmanager
def logging(device: Device, *ranges: Range, page_size: int = PAGE) -> Iterator[int]:
    """Log for a block; provide the page size that was chosen."""
    with expect_success(did=f"START with {len(ranges) or 1} ranges"):
        chosen = features.start_log(device, ranges or [LOG], page_size)
    yield chosen
    features.stop_log(device)
