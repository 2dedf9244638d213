# SPDX-License-Identifier: GPL-2.0-only
"""Judges many builds of a module in one guest, until one leaves a fault.

Whatever a module leaves behind that is not clean (a crash, a hang, a kernel warning, a module that
cannot be unloaded) ends its guest, so that the next module is not judged by it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from conformance import errors
from conformance.errors import GuestHung, GuestLost
from conformance.events.kinds import BAD, Agent, AgentError, Event, Phase, Result, TestOutcome
from conformance.lab.guest.payload import Job, Trial
from conformance.lab.guest.run import Contents, guest
from conformance.lab.machine.lab import Lab
from conformance.running.steps import Steps
from kpatch.module.info import ModuleInfo

_LEAK = "robust.leak"


class End(StrEnum):
    """How a trial ended."""

    DONE = "done"  # all tests were run
    DIED = "died"  # the kernel did
    HUNG = "hung"
    GAVE_UP = "gave up"  # the agent did


@dataclass(frozen=True)
class TestResult:
    """What a test said.

    Attributes:
        outcome: How it ended.
        rules: The rules it is of.
        message: Why it failed or was skipped.
    """

    __test__ = False  # not a class of tests

    outcome: TestOutcome
    rules: tuple[str, ...]
    message: str = ""

    @property
    def bad(self) -> bool:
        """Whether it failed."""
        return self.outcome in BAD


@dataclass
class Outcome:
    """What became of a trial.

    Attributes:
        name: Whose.
        tests: The result of each test that came to an end, by its short name.
        end: How it ended.
        detail: More about an end that is not good.
        file: The file of the module.
        asked: The tests that were to run.
        seconds: How long it took.
    """

    name: str
    tests: dict[str, TestResult] = field(default_factory=dict)
    end: End = End.DONE
    detail: str = ""
    file: str = ""
    asked: tuple[str, ...] = ()
    seconds: float = 0.0

    def of_rule(self, rule: str) -> dict[str, TestResult]:
        """Return the results of the tests of a rule."""
        return {name: one for name, one in self.tests.items() if rule in one.rules}

    def as_json(self) -> dict[str, Any]:
        """Return it in a form that `from_json` understands."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Outcome:
        """Read what `as_json` wrote."""
        tests = {
            name: TestResult(TestOutcome(one["outcome"]), tuple(one["rules"]), one["message"])
            for name, one in raw["tests"].items()
        }
        return cls(**{**raw, "tests": tests, "end": End(raw["end"]), "asked": tuple(raw["asked"])})


@dataclass(frozen=True)
class Bench:
    """Where trials are made.

    Attributes:
        lab: The lab.
        module: A build of the module: all trials have its name and its dependencies.
        logs: Folder for the logs of the guests.
        quiet: Seconds without an event after which a guest counts as hung.
        hints: Options that state what the suite may do with the registers.
        companions: Modules that it needs and the kernel does not have.
        mediated: As in a job of the payload.
    """

    lab: Lab
    module: ModuleInfo
    logs: Path
    quiet: float
    hints: Sequence[str] = ()
    companions: Sequence[ModuleInfo] = ()
    mediated: tuple[str, str] = ("", "")


def one_guest(bench: Bench, batch: Sequence[Trial], done: Callable[[Outcome], None]) -> None:
    """Judge as many modules as one guest takes: the first of them, in order.

    Args:
        bench: Where.
        batch: What.
        done: Told the outcome of each as soon as it is known.

    Raises:
        ConformanceError: The lab failed.
        KpatchError: A program failed.
    """
    left = list(batch)
    silent = Steps(lambda _line: None)
    with guest(bench.lab, _contents(bench, batch), bench.logs, silent) as running:
        running.order("check")
        for outcome in follow(running.events(bench.quiet)):
            trial = left.pop(0)
            outcome.file, outcome.asked = trial.module.name, trial.tests
            done(outcome)
            if any(test.bad and _LEAK in test.rules for test in outcome.tests.values()):
                return  # kmemleak would report it again and blame the next module


def follow(events: Iterator[Event]) -> Iterator[Outcome]:
    """Yield the outcome of each trial that began."""
    current: Outcome | None = None
    begun = 0.0
    try:
        for event in events:
            match event:
                case AgentError(phase, message):
                    if current is None or phase == Phase.AGENT:
                        raise errors.AgentError(f"The guest's agent gave up: {message}")
                    current.end, current.detail = End.GAVE_UP, f"{phase}: {message}"
                    yield _timed(current, begun)
                    current = None
                case Result() if current:
                    result = TestResult(event.outcome, event.rules, event.reason)
                    current.tests[event.id] = result
                case Agent(Phase.TRIAL, name):
                    current, begun = Outcome(name), time.monotonic()
                case Agent(Phase.TRIAL_ENDED) if current:
                    yield _timed(current, begun)
                    current = None
    except GuestLost as error:
        if current is None:
            raise
        current.end = End.HUNG if isinstance(error, GuestHung) else End.DIED
        current.detail = error.reason
        yield _timed(current, begun)


def _timed(outcome: Outcome, begun: float) -> Outcome:
    outcome.seconds = round(time.monotonic() - begun, 1)
    return outcome


def _contents(bench: Bench, batch: Sequence[Trial]) -> Contents:
    job = Job(
        module=bench.module.name,
        parameters=bench.lab.machine.parameters,
        hints=bench.hints,
        tests=(),
        pytest_args=(),
        quiet=bench.quiet / 2,
        trials=batch,
        mediated=bench.mediated,
    )
    return Contents(job, (bench.module, *bench.companions))
