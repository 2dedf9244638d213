# SPDX-License-Identifier: GPL-2.0-only
"""Oracle of a random walk in version 2: what the device must do next, whatever was done before."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from errno import EBUSY, EINVAL

from conformance.model.ledger import Ledger
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State


class Outcome(Enum):
    """What a SET must come to."""

    TAKEN = "success"
    REFUSED = "an error"
    EITHER = "success or an error"


@dataclass(frozen=True)
class Expected:
    """The verdict on one SET.

    Attributes:
        outcome: What it must come to.
        rule: The requirement that decides.
        errno: The one errno that a refusal must have, 0 if any will do.
        gives_fd: Whether a success gives a data_fd.
        why: The reason, in words, if it is not the transition itself.
    """

    outcome: Outcome
    rule: str
    errno: int = 0
    gives_fd: bool = False
    why: str = ""


@dataclass
class Walk:
    """What is known of a device after a walk.

    Attributes:
        ledger: Its mappings.
        flags: Its migration flags.
        state: The state in which it must be.
        saved: The last whole stream that it yielded, with the registers of then.
        given: Bytes of that stream that the resuming device has been given; None if it was
            given something else.
        overfull: Whether it has refused bytes behind the whole of that stream.
        registers: Values of those registers that must not have changed, by number.
    """

    ledger: Ledger
    flags: int
    state: State = State.RUNNING
    saved: tuple[bytes, dict[int, int]] | None = None
    given: int | None = 0
    overfull: bool = False
    registers: dict[int, int] = field(default_factory=dict)
    _taken: bytes | None = None
    _stopped_with: dict[int, int] = field(default_factory=dict)

    def expect(self, value: int) -> Expected:
        """Return the verdict on a SET."""
        old = self.state
        if old is State.ERROR:
            return Expected(Outcome.REFUSED if value else Outcome.EITHER, "error.sticky")
        steps = fsm.path(old, value, self.flags)
        if steps is None:
            blocked = old is State.STOP_COPY and value in fsm.SAVING
            return Expected(Outcome.REFUSED, "fsm.blocked" if blocked else "fsm.invalid", EINVAL)
        new = State(value)
        if not steps:
            return Expected(Outcome.TAKEN, "fsm.same")
        if fsm.judges_mappings(old, new, self.flags) and not self.ledger.may_save():
            who, page = self.ledger.conflicts()[0]
            why = f"{who} has mapped page {page.offset:#x} of region {page.region}"
            return Expected(Outcome.REFUSED, "saving2.entry", EBUSY, why=why)
        gives = fsm.begins_session(old, new, self.flags)
        judged = self._of_load() if old is State.RESUMING else None
        if judged:
            outcome, rule, why = judged
            return Expected(outcome, rule, gives_fd=gives, why=why)
        return Expected(Outcome.TAKEN, self._rule(old, new, len(steps)), gives_fd=gives)

    def _of_load(self) -> tuple[Outcome, str, str] | None:
        """Return outcome, rule and reason of a SET that ends a load; None if it is sound."""
        if not self._loaded():
            # Of a device that has said nothing yet, nothing may be a whole stream.
            outcome = Outcome.EITHER if self.saved is None else Outcome.REFUSED
            return outcome, "resume2.incomplete", "no whole stream was given"
        if self.overfull:
            # What was refused was no part of the stream: the load may succeed without it.
            why = "bytes behind the whole stream were refused"
            return Outcome.EITHER, "resume2.bound", why
        return None

    @staticmethod
    def _rule(old: State, new: State, steps: int) -> str:
        family = "arc" if steps == 1 else "combination"
        return f"fsm.{family}.{old.word}-to-{new.word}"

    def _loaded(self) -> bool:
        return self.saved is not None and self.given == len(self.saved[0])

    def allowed_after(self, value: int, *, taken: bool) -> tuple[State, ...]:
        """Return the states that GET may show after the SET."""
        if taken:
            return (State(value),)
        if self.state is State.ERROR or fsm.path(self.state, value, self.flags) is None:
            return (self.state,)
        if self.expect(value).errno:
            return (self.state,)
        return fsm.after_failure(self.state, State(value), self.flags)

    def moved(self, new: State) -> None:
        """Note that the device has gone to another state, or stayed in its own."""
        old, self.state = self.state, new
        if new is old:
            return
        if old is State.RESUMING:
            sound = self._loaded() and not self.overfull and new is not State.ERROR
            whole = self.saved if sound else None
            self.registers = dict(whole[1]) if whole else {}
        if new.saving and not old.saving:
            self._taken = b""
        elif not new.saving:
            self._taken = None
        if new is State.STOP_COPY:
            self._stopped_with = dict(self.registers)
        self.given, self.overfull = 0, False
        if new is State.ERROR:
            self.registers = {}

    def reset(self) -> None:
        """Note a reset: the device runs, its registers may have any value."""
        self.moved(State.RUNNING)
        self.registers = {}

    def took(self, data: bytes) -> None:
        """Note what was read while saving; nothing in STOP_COPY is the end."""
        if self._taken is None:
            return
        self._taken += data
        if not data and self.state is State.STOP_COPY and self._taken:
            self.saved = (self._taken, self._stopped_with)

    def to_give(self, size: int) -> bytes:
        """Return the next bytes of the last whole stream; none if there are none to give."""
        if self.saved is None or self.given is None or self.state is not State.RESUMING:
            return b""
        return self.saved[0][self.given : self.given + size]

    def gave(self, count: int) -> None:
        """Note that the resuming device has taken so many of them."""
        assert self.given is not None
        self.given += count

    def gave_wrong(self, *, taken: bool) -> None:
        """Note that the resuming device was given something else, and whether it took any of it."""
        if not taken and self._loaded():
            self.overfull = True
        else:
            self.given = None

    def may_write_registers(self) -> bool:
        """Return whether a register that is written now keeps its value."""
        return self.state in {State.RUNNING, State.PRE_COPY}
