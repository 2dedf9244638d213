# SPDX-License-Identifier: GPL-2.0-only
"""One run of the suite by several guests: hands out the shares, and merges what the guests say.

The merged events are those that one guest would send that runs all tests: one session, each test
once, one end. A guest that is lost does not hinder the others, but then the run has no end.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from conformance.errors import ConformanceError, LabError
from conformance.events.errors import EventError
from conformance.events.kinds import (
    Agent,
    AgentError,
    Event,
    Finish,
    Output,
    Phase,
    Session,
)
from conformance.lab.guest.guest import Guest, is_end
from conformance.lab.guest.run import guest_logs
from conformance.report.settle import ExitCode
from conformance.running.follow import PYTEST_LOG

_SOUND = (ExitCode.OK, ExitCode.TESTS_FAILED)


class Unequal(LabError):
    """Two guests do not run the same session."""


@dataclass
class _Voice:
    """What is known of one of the guests."""

    number: int
    guest: Guest
    heard: float
    over: bool = False
    finish: Finish | None = None
    status: int | None = None
    output: Output | None = None


@dataclass
class Merged:
    """Merges the events of guests.

    Args:
        count: How many there are.
        quiet: Seconds without an event after which one counts as hung.
        logs: The folder of the run.
        say: Prints which guest is lost, while the others go on.

    Attributes:
        begun: When the first one got its order.
    """

    count: int
    quiet: float
    logs: Path
    say: Callable[[str], None] = lambda _line: None
    begun: float = 0.0
    _voices: list[_Voice] = field(default_factory=list)
    _session: Session | None = None
    _later: list[Event] = field(default_factory=list)
    _ended: bool = False
    _gave_up: bool = False

    def events(self, guests: Iterable[Guest]) -> Iterator[Event]:
        """Order a share from each guest, and yield what all of them say.

        Args:
            guests: The guests. Each gets its order before the next one is asked for.

        Raises:
            GuestLost: A guest's kernel died or hung; the others have come to their ends.
            LabError: The same of QEMU, or the guests do not agree.
            EventError: The same of what came from a guest.
        """
        lost: list[Exception] = []
        for number, guest in enumerate(guests, 1):
            self.begun = self.begun or time.monotonic()
            guest.order("check", share=f"{number}/{self.count}")
            self._voices.append(_Voice(number, guest, time.monotonic()))
        while speaking := [voice for voice in self._voices if not voice.over]:
            now = time.monotonic()
            left = min(voice.heard for voice in speaking) + self.quiet - now
            watched = [one for voice in speaking for one in voice.guest.descriptors]
            select.select(watched, [], [], max(left, 0))
            for voice in speaking:
                try:
                    yield from self._take(voice)
                except (ConformanceError, EventError) as error:
                    voice.over = True
                    lost.append(error)
                    self._say_lost(voice)
        if lost:
            yield from self._outputs(self._voices[0])
            raise lost[0]
        yield Agent(Phase.DONE, "")

    def _take(self, voice: _Voice) -> Iterator[Event]:
        """Yield what becomes of all that one guest has said by now."""
        while event := voice.guest.poll():
            voice.heard = time.monotonic()
            if is_end(event):
                voice.over = True
                return
            yield from self._merged(voice, event)
        if time.monotonic() >= voice.heard + self.quiet:
            raise voice.guest.hung(self.quiet)

    def _merged(self, voice: _Voice, event: Event) -> Iterator[Event]:
        match event:
            case Session():
                yield from self._begin(voice, event)
            case Finish():
                voice.finish = event
            case Output():
                voice.output = event
            case Agent(Phase.TESTS_ENDED, status):
                voice.status = int(status)
                yield from self._end()
            case Agent():
                yield from self._phase(voice, event)
            case AgentError():
                # What hinders one agent mostly hinders all: it is said once.
                if not self._gave_up:
                    self._gave_up = True
                    yield event
            case _:
                yield event

    def _begin(self, voice: _Voice, session: Session) -> Iterator[Event]:
        """Yield the session for all: that of the guest that has it first."""
        if self._session is None:
            self._session = session
            yield replace(session, workers=session.workers * self.count)
        elif session != self._session:
            raise Unequal(
                f"Guest {voice.number} does not run the session of the others: "
                f"{_difference(self._session, session)}. They came from one snapshot and have one "
                "payload, so this is an error of the kit."
            )

    def _phase(self, voice: _Voice, event: Agent) -> Iterator[Event]:
        """Yield the phases of the first guest, those after its tests once all tests have ended."""
        if voice.number > 1:
            return
        if voice.status is None or self._ended:
            yield event
        else:
            self._later.append(event)

    def _end(self) -> Iterator[Event]:
        """Yield the end of the tests when the last guest has come to it."""
        statuses = [voice.status for voice in self._voices if voice.status is not None]
        if len(statuses) < self.count:
            return
        self._ended = True
        worst = max(self._voices, key=lambda voice: _badness(voice.status))
        yield from self._outputs(worst)
        finishes = [voice.finish for voice in self._voices if voice.finish]
        if len(finishes) == self.count:
            status = max((one.status for one in finishes), key=_badness)
            yield Finish(status, max(one.duration for one in finishes))
        yield Agent(Phase.TESTS_ENDED, str(worst.status))
        yield from self._later

    def _say_lost(self, voice: _Voice) -> None:
        if self.count > 1:
            folder = guest_logs(self.logs, voice.number)
            going = sum(not one.over for one in self._voices)
            others = " The others go on with theirs." if going else ""
            self.say(
                f"Guest {voice.number} of {self.count} is lost, and with it what was left of its "
                f"tests; its logs are in {folder}.{others}"
            )

    def _outputs(self, worst: _Voice) -> Iterator[Event]:
        """Keep what pytest printed in each guest; yield that which explains the status."""
        for voice in self._voices:
            if voice.output and voice.number > 1:
                path = guest_logs(self.logs, voice.number) / PYTEST_LOG
                path.write_text(voice.output.text, encoding="utf-8")
        shown = self._voices[0] if worst.status in _SOUND else worst
        if shown.output:
            yield shown.output


def _badness(status: int | None) -> tuple[bool, int]:
    """Order pytest's statuses: success, failed tests, then what is no result at all."""
    return status not in _SOUND, status or 0


def _difference(one: Session, other: Session) -> str:
    """Return the name of the first thing in which two sessions differ."""
    names = vars(one)
    return next((name for name in names if getattr(one, name) != getattr(other, name)), "nothing")
