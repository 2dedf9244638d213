# SPDX-License-Identifier: GPL-2.0-only
"""Doorbells, for which a device writes to memory."""

from collections.abc import Sequence

from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Doorbell
from conformance.suite.support.life import soon
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, GuestMemory


def ring_all(doorbells: Sequence[Doorbell]) -> set[int]:
    """Ring doorbells, each for a page of its own; return the numbers of these pages."""
    for number, doorbell in enumerate(doorbells):
        doorbell.ring(IOVA + number * PAGE)
    return set(range(len(doorbells)))


def expect_written(memory: GuestMemory, pages: set[int], *, did: str) -> None:
    """Demand that the device writes to these pages, soon, and to no other."""
    __tracebackhide__ = True
    soon(lambda: memory.written() == pages)
    expect_equal(memory.written(), pages, did=did)
