# SPDX-License-Identifier: GPL-2.0-only
"""Oracle of a random walk: what the device must do next, after whatever was done before."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from errno import EBUSY

from conformance.model.ledger import Ledger
from conformance.model.v1 import states
from conformance.model.v1.states import State, Verdict


class Outcome(Enum):
    """What a write of device_state must come to."""

    TAKEN = "success"
    REFUSED = "an error"
    EITHER = "success or an error"


class Given(Enum):
    """What a resuming device has been given of a stream."""

    NOTHING = "nothing"
    PART = "a part of a stream"
    WHOLE = "a whole stream"
    WRONG = "something that is no stream"
    UNSURE = "something that it refused"


@dataclass(frozen=True)
class Expected:
    """The verdict on one write of device_state.

    Attributes:
        outcome: What it must come to.
        errno: The one errno that a refusal must have, 0 if any will do.
        rule: The requirement that decides.
        why: The reason, in words, if it is not the transition itself.
    """

    outcome: Outcome
    rule: str
    errno: int = 0
    why: str = ""


@dataclass(frozen=True)
class Saved:
    """A whole stream, and what the registers were when the device stopped.

    Attributes:
        chunks: Its buffers, in their order.
        registers: Values of the registers that are known.
    """

    chunks: tuple[bytes, ...]
    registers: dict[int, int]


@dataclass
class Walk:
    """What is known of a device after a walk.

    Attributes:
        ledger: Its mappings.
        state: The state in which it must be.
        given: What it was given of a stream, while it is resuming.
        registers: Values of those registers that must not have changed, by any name.
        saved: The last whole stream that it yielded.
        drained: Whether pending_bytes was 0 in stop-and-copy: it stays 0.
        next: Index of the buffer of ``saved`` that is to be given next.
    """

    ledger: Ledger
    state: State = State.RUNNING
    given: Given = Given.NOTHING
    registers: dict[int, int] = field(default_factory=dict)
    saved: Saved | None = None
    drained: bool = False
    next: int = 0
    _chunks: list[bytes] | None = None
    _stopped_with: dict[int, int] = field(default_factory=dict)

    def expect(self, value: int) -> Expected:
        """Return the verdict on a write of device_state."""
        verdict, rule = states.verdict(self.state, value), states.rule(self.state, value)
        if verdict is Verdict.INVALID:
            return Expected(Outcome.REFUSED, rule)
        if states.adds_saving(self.state, value) and not self.ledger.may_save():
            # Of a transition that need not be offered the errno need not be that of mappings.
            errno = EBUSY if verdict is Verdict.MUST else 0
            who, page = self.ledger.conflicts()[0]
            why = f"{who} has mapped page {page.offset:#x} of region {page.region}"
            return Expected(Outcome.REFUSED, "saving.refuse", errno, why)
        leaves = self.state is State.RESUMING and value != State.RESUMING
        if leaves and self.given is not Given.WHOLE:
            why = f"{self.given.value} was given"
            return Expected(self._without_stream(), "resume.invalid", 0, why)
        if verdict is Verdict.FREE:
            return Expected(Outcome.EITHER, rule)
        return Expected(Outcome.TAKEN, "saving.accept" if value & states.SAVING_BIT else rule)

    def _without_stream(self) -> Outcome:
        """Return what leaving the state of resuming must come to without a whole stream."""
        if self.given is Given.UNSURE:
            return Outcome.EITHER  # it may go on with what it had, or give up
        if self.given is Given.NOTHING and self.saved is None:
            return Outcome.EITHER  # perhaps it has no state to migrate
        return Outcome.REFUSED

    def allowed_after(self, value: int, *, taken: bool) -> tuple[State, ...]:
        """Return the states that device_state may read as after the write."""
        return (State(value),) if taken else states.after_failure(self.state)

    def moved(self, new: State) -> None:
        """Note that the device has gone to another state, or stayed in its own."""
        old, self.state = self.state, new
        if new is old:
            return
        if old is State.RESUMING:
            self.registers = self._after_resuming(new)
        if not new.saving:
            self._chunks = None
        elif not old.saving:
            self._chunks = []
        elif old is State.STOP_AND_COPY:
            self._chunks = None  # back to pre-copy: nothing says how that stream goes on
        self.drained = False
        if new is State.STOP_AND_COPY:
            self._stopped_with = dict(self.registers)
        if new in {State.RESUMING, State.ERROR}:
            self.given, self.next = Given.NOTHING, 0
            if new is State.ERROR:
                self.registers = {}

    def _after_resuming(self, new: State) -> dict[int, int]:
        whole = self.given is Given.WHOLE and self.saved and new is not State.ERROR
        return dict(self.saved.registers) if whole and self.saved else {}

    def reset(self) -> None:
        """Note a reset: the device runs, its registers may have any value."""
        self.moved(State.RUNNING)
        self.registers = {}

    def took(self, chunk: bytes) -> None:
        """Note that a buffer was read while saving."""
        if self._chunks is not None:
            self._chunks.append(chunk)

    def nothing_pends(self) -> None:
        """Note that pending_bytes was 0."""
        if self.state is not State.STOP_AND_COPY:
            return
        self.drained = True
        if self._chunks:
            self.saved = Saved(tuple(self._chunks), self._stopped_with)

    def chunk_to_give(self) -> bytes | None:
        """Return the buffer of the last whole stream that comes next; None if none does."""
        spoilt = self.given in {Given.WRONG, Given.UNSURE}
        if self.saved is None or spoilt or self.next >= len(self.saved.chunks):
            return None
        return self.saved.chunks[self.next]

    def gave(self) -> None:
        """Note that the resuming device has taken that buffer."""
        assert self.saved
        self.next += 1
        self.given = Given.WHOLE if self.next == len(self.saved.chunks) else Given.PART

    def gave_wrong(self, *, taken: bool) -> None:
        """Note that the resuming device was given something else, and whether it took it."""
        if self.given is not Given.WRONG:
            self.given = Given.WRONG if taken else Given.UNSURE

    def may_write_registers(self) -> bool:
        """Return whether a register that is written now keeps its value."""
        return self.state in {State.RUNNING, State.PRE_COPY}
