# SPDX-License-Identifier: GPL-2.0-only
"""A stopped device writes nothing to memory."""

import random
import time

import pytest

from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Doorbell
from conformance.suite.v1.cases import by_state
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES, LoggedMemory

#: Seconds in which a device that still moves would write.
WHILE = 0.05


@pytest.mark.rule("state.synchronous")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.STOP_AND_COPY)))
def test_stopped_device_does_not_write(
    migration: MigrationRegion,
    doorbells: list[Doorbell],
    memory: LoggedMemory,
    rng: random.Random,
    state: State,
) -> None:
    """Ring, stop, and ring once more: once it is stopped, the device writes nothing."""
    for doorbell in doorbells:
        doorbell.ring(IOVA + rng.randrange(PAGES) * PAGE)
    migration.set_state(state)
    before = memory.contents()
    for doorbell in doorbells:
        doorbell.ring(IOVA + rng.randrange(PAGES) * PAGE, value=0xA5)
    time.sleep(WHILE)
    changed = [n for n in range(PAGES) if memory.page(n) != before[n * PAGE : (n + 1) * PAGE]]
    expect_equal(changed, [], did=f"enter state {state:d}, ring, look for pages that changed")
