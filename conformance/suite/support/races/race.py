# SPDX-License-Identifier: GPL-2.0-only
"""Races between mappings and the begin of saving, judged soundly.

What is certain at the time of a write comes from the shared slots, what is certain afterwards from
/proc: while a round runs, a write that was accepted is wrong if some mapping is certainly there,
one that was refused is wrong if certainly none was. Then everybody stops, and the mappings that
/proc shows of every party decide what the next write must say.
"""

import errno
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, fail
from conformance.suite.support.races.slots import Phase, SharedMemory, Slots
from conformance.suite.support.races.worker import (
    SAVING,
    SIGNAL,
    Account,
    Turn,
    drop,
    heir_slot,
    own_slot,
    run,
)
from conformance.suite.support.windows import Window, layout_of
from conformance.vfio.children.children import Child
from conformance.vfio.errors import ChildDied
from conformance.vfio.memory.maps import mapped_areas
from conformance.vfio.system import sysfs

_WRITES: Final = 5


@dataclass
class Tally:
    """How a race went; a race in which nothing met proves nothing."""

    accepted: int = 0
    refused: int = 0
    mapped: int = 0
    busy: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether each side won at times."""
        return bool(self.accepted and self.refused and self.mapped)


class Race:
    """Rounds between the state write here and parties that map one conflicting page.

    ``processes`` are children that race; without them threads of this process do, ``threads``
    of them. ``heirs`` lets children fork, ``deaths`` kills one child in each round.
    """

    def __init__(
        self,
        saver: Saver,
        window: Window,
        rng: random.Random,
        *,
        fork: Callable[[], Child],
        threads: int = 0,
        processes: int = 0,
        heirs: bool = False,
        deaths: bool = False,
    ) -> None:
        self.saver = saver
        self.window = window
        self.tally = Tally()
        self._rng = rng
        self._memory = SharedMemory()
        self._slots = Slots(self._memory.address)
        self._fork = fork
        self._threads = threads
        self._heirs = heirs
        self._deaths = deaths
        self._children = [fork() for _ in range(processes)]
        self._parties = threads + processes
        self._bus_address = sysfs.bar_address(saver.device.bdf, window.region.index)
        self._dead: list[int] = []
        self._ways = [stage for stage in Stage if stage.saving and saver.offers(stage)]

    def rounds(self, count: int) -> Tally:
        """Race so many rounds, more if nothing has met yet, and return how they went.

        The first wrong thing ends it.
        """
        with ThreadPoolExecutor(self._parties) as pool:
            for number in range(4 * count):
                if self.tally.wrong or (number >= count and self.tally.met):
                    break
                self._round(pool, number)
        return self.tally

    def _round(self, pool: ThreadPoolExecutor, number: int) -> None:
        turns = [self._turn(number, party) for party in range(self._parties)]
        running = [pool.submit(self._call, turn, run, turn) for turn in turns]
        self._slots.write(SIGNAL, Phase.HELD)
        try:
            self._write_states()
        finally:
            self._slots.write(SIGNAL, Phase.FREE)
            accounts = [
                self._settled(turn, done) for turn, done in zip(turns, running, strict=True)
            ]
        self._judge_quiet(number)
        for dead in self._dead:
            self._children[dead] = self._fork()
        self._dead.clear()
        for turn, account in zip(turns, accounts, strict=True):
            self.tally.mapped += account.mapped
            self.tally.busy += account.refused
            self.tally.wrong += [f"round {number}: {each}" for each in account.wrong]
            if account.address:
                self._call(turn, drop, turn, account.address)
        self._leave_saving()

    def _turn(self, number: int, party: int) -> Turn:
        window = self.window
        offset = window.region.offset + window.offset
        seed = f"{self._rng.random()} {number} {party}"
        fd = self.saver.device.fd
        signal = self._slots.read(SIGNAL)
        return Turn(self._slots.address, signal, party, seed, fd, offset, window.size, self._heirs)

    def _call(self, turn: Turn, function: Callable[..., Account | None], *args: object) -> object:
        """Call a function in the party: here for a thread, there for a process."""
        if turn.party < self._threads:
            return function(*args)
        return self._children[turn.party - self._threads].call(function, *args)

    def _settled(self, turn: Turn, done: "Future[object]") -> Account:
        """Wait for a party's account; one that was killed has none, and holds nothing."""
        try:
            account = done.result()
        except ChildDied:
            if not self._deaths:
                raise
            self._slots.write(own_slot(turn.party), Phase.FREE)
            self._dead.append(turn.party - self._threads)
            return Account()
        assert isinstance(account, Account)
        return account

    def _write_states(self) -> None:
        """Write states while the others act, and judge each answer by what is certain."""
        victim = self._rng.randrange(_WRITES) if self._deaths else -1
        for turn in range(_WRITES):
            time.sleep(self._rng.random() * 0.001)
            if turn == victim:
                self._children[self._rng.randrange(len(self._children))].kill()
            if not self._write_one():
                continue
            time.sleep(self._rng.random() * 0.001)
            if (held := self._certain(Phase.HELD)) and not self._deaths:
                self.tally.wrong.append(f"it saves, and {held[0]} certainly has a conflict mapped")
            if turn < _WRITES - 1:
                self._leave_saving()

    def _write_one(self) -> bool:
        """Try to begin to save; return whether that was accepted."""
        self._slots.write(SAVING, Phase.MAYBE)
        before = self._words()
        refused = self.saver.attempt(self._rng.choice(self._ways))
        same = before == self._words()
        free = all(Phase(word & 3) is Phase.FREE for word in before)
        self._slots.write(SAVING, Phase.FREE if refused else Phase.HELD)
        self.tally.refused += bool(refused)
        self.tally.accepted += not refused
        if refused not in (None, errno.EBUSY):
            self.tally.wrong.append(f"the write failed with errno {refused}, not EBUSY")
        if refused and same and free:
            self.tally.wrong.append("the write was refused, and certainly nothing was mapped")
        return refused is None

    def _leave_saving(self) -> None:
        self._slots.write(SAVING, Phase.MAYBE)
        if self.saver.stage is not Stage.RUNNING:
            self.saver.enter(Stage.RUNNING)
        self._slots.write(SAVING, Phase.FREE)

    def _words(self) -> list[int]:
        return [self._slots.read(slot) for slot in self._party_slots()]

    def _party_slots(self) -> list[int]:
        return [slot(party) for party in range(self._parties) for slot in (own_slot, heir_slot)]

    def _certain(self, phase: Phase) -> list[str]:
        """Name the slots that certainly are in a phase."""
        return [f"slot {slot}" for slot in self._party_slots() if self._slots.phase(slot) is phase]

    def _judge_quiet(self, number: int) -> None:
        """Take inventory while nobody moves, and compare the device with it."""
        held = self._inventory()
        now = self.saver.stage
        if held and now is not Stage.RUNNING:
            self.tally.wrong.append(f"round {number}: {now and now.value} with {held} mapped")
            return
        self._leave_saving()
        self._slots.write(SAVING, Phase.MAYBE)
        refused = self.saver.attempt(self.saver.first)
        if bool(refused) != bool(held):
            said = "refused" if refused else "accepted"
            self.tally.wrong.append(f"round {number}: saving {said} at rest, mapped: {held}")

    def _inventory(self) -> list[str]:
        """Return the conflicting mappings of all parties as /proc shows them."""
        region, layout = self.window.region, layout_of(self.window.region)
        pids: list[int | str] = ["self", *(child.pid for child in self._children)]
        return [
            f"{area} in process {pid}"
            for pid in pids
            for area in mapped_areas(region, pid, bus_address=self._bus_address)
            if layout.conflicts(area)
        ]


def expect_fair(tally: Tally, did: str) -> None:
    """Demand that nothing was wrong, and that both sides won at times: else nothing was shown."""
    __tracebackhide__ = True
    expect_equal(tally.wrong, [], did=did)
    if not tally.met:
        fail(did=did, expected="writes and mappings that succeed and fail", actual=str(tally))
