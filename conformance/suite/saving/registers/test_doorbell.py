# SPDX-License-Identifier: GPL-2.0-only
"""A trapped register that does something: by a mapping it does the same as by write()."""

import time

import pytest

from conformance.plugin.declared import Doorbell
from conformance.suite.support.doorbells import expect_written
from conformance.suite.support.life import WHILE
from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, LoggedMemory
from conformance.vfio.region import Region


def _store(region: Region, offset: int, value: int) -> None:
    """Store a register by a mapping of its page alone."""
    at = offset % PAGE
    with region.map(offset - at, PAGE) as mapping:
        mapping.store(at, value)


@pytest.mark.rule("saving.trapped-access")
def test_rung_by_a_mapping(device: Device, doorbells: list[Doorbell], memory: LoggedMemory) -> None:
    """Reset, wait, ring doorbells by mappings and write nothing: the device writes to memory."""
    device.reset()
    time.sleep(WHILE)  # a device may look once after a reset
    for page, bell in enumerate(doorbells):
        iova = IOVA + page * PAGE
        for offset, value in ((0, iova & 0xFFFFFFFF), (4, iova >> 32)):
            _store(bell.region, bell.address + offset, value)
        _store(bell.region, bell.offset, 1)
    wanted = set(range(len(doorbells)))
    expect_written(memory, wanted, did="reset, ring doorbells by mappings, look at memory")
