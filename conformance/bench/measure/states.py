# SPDX-License-Identifier: GPL-2.0-only
"""Cost of a write of device_state with a growing number of live mappings, against one."""

import errno
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from conformance.bench.measure.held import Held, places
from conformance.bench.measure.ratios import compare, interleaved
from conformance.events.kinds import Ratio
from conformance.migration.v1.region import DEVICE_STATE, MigrationRegion
from conformance.migration.v1.states import PRE_COPY, RUNNING, STOP_COPY
from conformance.vfio.device import Device

_LIVE: Final = (1, 10, 100, 1000, 10000)
_ROUNDS: Final = 11
_WARM: Final = 20
_WRITES: Final = 51


def measure(tested: Device) -> Iterator[Ratio]:
    """Yield a row for each kind of write and number of mappings.

    Writes that are accepted have their mappings inside the saving areas, those that are refused
    outside. A kind for which the device has no page is skipped.
    """
    register = _StateRegister(MigrationRegion.find(tested))
    may_stay, conflict = [], []
    for region in tested.regions:
        if region.saving is not None:
            may_stay += places(region, region.saving_areas)
            conflict += places(region, region.conflicting_areas)
    yield from _growth("accepted 1 -> 3", partial(register.accepted, PRE_COPY), tested, may_stay)
    yield from _growth("accepted 1 -> 2", partial(register.accepted, STOP_COPY), tested, may_stay)
    yield from _growth("refused 1 -> 2", partial(register.refused, STOP_COPY), tested, conflict)


def _growth(name: str, write: partial[int], tested: Device, pages: list[int]) -> Iterator[Ratio]:
    if not pages:
        return
    with Held(tested.fd, pages) as held:
        cases = {live: partial(_with, held, live, write) for live in _LIVE}
        taken = interleaved(cases, _ROUNDS)
    for live in _LIVE[1:]:
        yield compare("states", name, "1 mapping", taken[live], taken[1], live=live)


def _with(held: Held, live: int, write: partial[int]) -> int:
    """Return the median of a few writes, once nothing is cold any more of making mappings."""
    held.resize(live)
    for _ in range(_WARM):
        write()
    return statistics.median_low(write() for _ in range(_WRITES))


class _StateRegister:
    """Writes device_state with nothing between the clock and the system call."""

    def __init__(self, migration: MigrationRegion) -> None:
        self._fd = migration.device.fd
        self._offset = migration.region.offset + DEVICE_STATE.offset
        self._running = _bytes(RUNNING)

    def accepted(self, state: int) -> int:
        """Return the nanoseconds that entering a state took, and leave it again."""
        data = _bytes(state)
        begun = time.perf_counter_ns()
        os.pwrite(self._fd, data, self._offset)
        taken = time.perf_counter_ns() - begun
        os.pwrite(self._fd, self._running, self._offset)
        return taken

    def refused(self, state: int) -> int:
        """Return the nanoseconds until a state was refused; raises if it is not refused."""
        data = _bytes(state)
        begun = time.perf_counter_ns()
        try:
            os.pwrite(self._fd, data, self._offset)
        except OSError as error:
            taken = time.perf_counter_ns() - begun
            if error.errno != errno.EBUSY:
                raise
            return taken
        raise RuntimeError("the device saves although a page that conflicts with it is mapped")


def _bytes(state: int) -> bytes:
    return state.to_bytes(DEVICE_STATE.width, "little")
