# SPDX-License-Identifier: GPL-2.0-only
"""Cost and use of trapped registers, on a device that receives on demand.

What a tail costs that the driver sees, whether packets arrive as fast, and how much less is copied.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Final

from conformance.bench.measure.ratios import Case, compare, interleaved, timed
from conformance.events.kinds import Ratio
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.states import PRE_COPY, RUNNING
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import LoggedMemory
from conformance.vfio.memory.areas import Area
from conformance.vfio.memory.mapping import PAGE_SIZE
from conformance.vfio.receiving import choose
from conformance.vfio.receiving.receiver import ENTRIES, Receiver

_ROUNDS: Final = 21
_PAGES: Final = 4096
_POSTED: Final = ENTRIES - 1
_FAST: Final = 1_000_000  # buffers a second: as many as the device can


def measure(bdf: str, interface: str | None) -> Iterator[Ratio]:
    """Yield all rows; none for a device of which nothing is known that makes it receive.

    Frames for it may be sent from a network interface.

    The device is alone in a container: only then VFIO reports no more than what it may write.
    """
    with ExitStack() as stack:
        container = stack.enter_context(Container())
        device = stack.enter_context(Device.open(bdf, container))
        stack.callback(device.group.close)
        traffic = choose.traffic_of(device, interface)
        if traffic is None:
            return
        memory = stack.enter_context(closing(LoggedMemory(container, _PAGES)))
        bench = _Bench(device, choose.receiver_of(device, memory, traffic, _PAGES))
        yield from bench.tails()
        yield from bench.packets()
        yield bench.copied()
        bench.receiver.stop()


class _Bench:
    def __init__(self, device: Device, receiver: Receiver) -> None:
        self._device = device
        self._migration = MigrationRegion.find(device)
        self.receiver = receiver

    def tails(self) -> Iterator[Ratio]:
        """Yield what a tail costs that posts one buffer."""
        by_write = self.receiver.write_tail
        cases: dict[str, Case] = {
            "saved": partial(self._sample, PRE_COPY, partial(_tails, by_write)),
            "running": partial(self._sample, RUNNING, partial(_tails, by_write)),
            "mapped": self._mapped,
        }
        taken = interleaved(cases, _ROUNDS)
        for name, one, against, other in (
            ("saved, write() / running, write()", "saved", "running, write()", "running"),
            ("saved, write() / running, mapping", "saved", "running, mapping", "mapped"),
            ("running, write() / running, mapping", "running", "running, mapping", "mapped"),
        ):
            yield compare("traps", name, against, taken[one], taken[other])

    def packets(self) -> Iterator[Ratio]:
        """Yield how fast a ring full of buffers is filled."""
        cases = {
            state: partial(self._sample, state, self._receive) for state in (PRE_COPY, RUNNING)
        }
        taken = interleaved(cases, _ROUNDS)
        yield compare("packets", "a ring of buffers", "running", taken[RUNNING], taken[PRE_COPY])

    def copied(self) -> Ratio:
        """Return how much of memory is reported, in rounds in which a ring of buffers is filled."""
        receiver = self.receiver
        receiver.memory.container.start_dirty_log()
        counts = []
        for _ in range(_ROUNDS):
            self._prepare()
            self._migration.set_state(PRE_COPY)
            receiver.memory.dirty()
            self._receive()
            counts.append(len(receiver.memory.dirty()))
            self._migration.set_state(RUNNING)
        receiver.memory.container.stop_dirty_log()
        return compare("copied", "a ring of buffers", "mapped", counts, [_PAGES] * _ROUNDS)

    def _prepare(self) -> None:
        """Set the ring up anew and describe buffers all over memory, of which none is posted."""
        self._migration.set_state(RUNNING)
        self.receiver.restart()
        for index in range(_POSTED):
            self.receiver.describe(0, index, (index + 1) * (_PAGES // ENTRIES))

    def _sample(self, state: int, act: Callable[[], object]) -> int:
        self._prepare()
        self._migration.set_state(state)
        taken = timed(act)
        self._migration.set_state(RUNNING)
        return taken

    def _mapped(self) -> int:
        region = self._device.region(0)
        tail = self.receiver.TAIL
        with region.map_area(Area(tail - tail % PAGE_SIZE, PAGE_SIZE)) as page:
            return self._sample(RUNNING, partial(_tails, partial(page.store, tail % PAGE_SIZE)))

    def _receive(self) -> None:
        traffic = self.receiver.traffic
        wanted = traffic.count() + _POSTED
        self.receiver.write_tail(_POSTED)
        traffic.set_rate(_FAST)
        while traffic.count() < wanted:
            pass


def _tails(write: Callable[[int], None]) -> None:
    for index in range(1, ENTRIES):
        write(index)
