# SPDX-License-Identifier: GPL-2.0-only
"""A write to memory that a device has begun and cannot end yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from conformance.plugin.checks import expect_equal, expect_true
from conformance.plugin.declared import Doorbell
from conformance.suite.support.life import soon
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import IOVA, PAGE
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.memory.userfault import Userfault
from conformance.vfio.system import sysfs

#: Seconds that the memory is missing.
MISSING: Final = 0.3


@contextmanager
def write_under_way(
    device: Device, container: Container, doorbell: Doorbell
) -> Iterator[Userfault]:
    """Have the device write to a page that is missing, and yield as soon as it waits for it.

    The page comes some time later. Skips hardware, for which memory is never missing.
    """
    if sysfs.is_pci(device.bdf):
        pytest.skip("memory that a PCI function may write is held in place")
    with anonymous(PAGE) as memory:
        container.map_dma(memory.address, IOVA, PAGE)
        try:
            with Userfault(memory.address, bytes(PAGE), MISSING) as late:
                doorbell.ring(IOVA)
                begun = soon(lambda: late.faults > 0)
                did = "ring a doorbell, its address in a page that is missing"
                expect_true(
                    begun, did=did, expected="the device writes there", actual="it does not"
                )
                yield late
        finally:
            container.unmap_dma(IOVA, PAGE)


def expect_ended(late: Userfault, *, did: str) -> None:
    """Demand that the write has ended, now that a call has returned."""
    __tracebackhide__ = True
    expect_equal(late.provided, late.faults, did=f"{did} while a write of the device is under way")
