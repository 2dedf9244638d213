# SPDX-License-Identifier: GPL-2.0-only
"""Judges many builds of a module, many in one guest and a fresh one after each fault.

Whatever a module leaves behind that is not clean (a crash, a hang, a kernel warning, a module that
cannot be unloaded) ends its guest, so that the next module is not judged by it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.errors import AgentError, GuestHung, GuestLost, LabError, QemuError
from conformance.lab import paths, payload
from conformance.lab.guest import Event
from conformance.lab.lab import Lab
from conformance.lab.machine import RunFiles
from conformance.lab.payload import Job
from conformance.lab.payload import Trial as PayloadTrial
from conformance.lab.qemu import run_folder
from conformance.lab.session import ready_guest
from conformance.lab.steps import Steps
from kpatch.module import ModuleInfo

DONE = "done"
DIED = "died"
HUNG = "hung"
GAVE_UP = "gave up"

_AGAIN = 2
"""Times that a trial is tried again if QEMU breaks during it."""

_MOST = 16
"""Trials in one guest: a guest's memory holds them all."""


@dataclass(frozen=True)
class Trial:
    """A module, and the tests that are to judge it.

    Attributes:
        name: Its name: lower-case letters, digits and hyphens.
        module: Its file.
        tests: Node ids; or the suite.
    """

    name: str
    module: Path
    tests: tuple[str, ...]


@dataclass(frozen=True)
class TestResult:
    """What a test said.

    Attributes:
        outcome: ``passed``, ``failed``, ``error`` or ``skipped``.
        rules: The rules it is of.
        message: Why it failed or was skipped.
    """

    __test__ = False  # not a class of tests

    outcome: str
    rules: tuple[str, ...]
    message: str = ""

    @property
    def bad(self) -> bool:
        """Whether it failed."""
        return self.outcome in {"failed", "error"}


@dataclass
class Outcome:
    """What became of a trial.

    Attributes:
        name: Whose.
        tests: The result of each test that came to an end, by its short name.
        end: How it ended: all tests were run; or the kernel died or hung; or the agent gave up.
        detail: More about an end that is not good.
        file: The file of the module.
        asked: The tests which were to run.
    """

    name: str
    tests: dict[str, TestResult] = field(default_factory=dict)
    end: str = DONE
    detail: str = ""
    file: str = ""
    asked: tuple[str, ...] = ()

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
            name: TestResult(one["outcome"], tuple(one["rules"]), one["message"])
            for name, one in raw["tests"].items()
        }
        return cls(**{**raw, "tests": tests, "asked": tuple(raw["asked"])})


@dataclass(frozen=True)
class Bench:
    """Where trials are made.

    Attributes:
        lab: The lab.
        module: A build of the module: all trials have its name and its dependencies.
        logs: Folder for the logs of the guests.
        scratch: Registers which the suite may write.
        quiet: Seconds without an event after which a guest counts as hung.
    """

    lab: Lab
    module: ModuleInfo
    logs: Path
    scratch: Sequence[str]
    quiet: float


def run(bench: Bench, trials: Sequence[Trial], done: Callable[[Outcome], None]) -> None:
    """Judge modules.

    Args:
        bench: Where.
        trials: What.
        done: Told the outcome of each as soon as it is known.

    Raises:
        ConformanceError: The lab failed.
        KpatchError: A program failed.
    """
    left = list(trials)
    again = 0
    while left:
        before = len(left)
        try:
            _one_guest(bench, left, done)
        except QemuError:
            # An emulator that breaks says nothing of the driver; nor does it prove that it is bad.
            again = again + 1 if len(left) == before else 0
            if again > _AGAIN:
                raise
            continue
        if len(left) == before:
            raise LabError(f"The guest did not begin with {left[0].name}; see {bench.logs}.")


def _one_guest(bench: Bench, left: list[Trial], done: Callable[[Outcome], None]) -> None:
    """Judge as many as one guest takes, and take them off the list."""
    batch = left[:_MOST]
    with run_folder(bench.logs) as files:
        _write_payload(bench, batch, files)
        with ready_guest(bench.lab, files, Steps(lambda _line: None)) as guest:
            guest.order("check")
            for outcome in _follow(guest.events(bench.quiet)):
                trial = left.pop(0)
                outcome.file, outcome.asked = trial.module.name, trial.tests
                done(outcome)


def _follow(events: Iterator[Event]) -> Iterator[Outcome]:
    """Yield the outcome of each trial that began."""
    current: Outcome | None = None
    try:
        for event in events:
            if event["event"] == "agent-error":
                if current is None:
                    raise AgentError(f"The guest's agent gave up: {event['message']}")
                current.end, current.detail = GAVE_UP, f"{event['phase']}: {event['message']}"
                yield current
                current = None
            elif event["event"] == "result" and current:
                current.tests[event["id"]] = _result(event)
            elif event.get("phase") == "trial":
                current = Outcome(event["detail"])
            elif event.get("phase") == "trial-ended" and current:
                yield current
                current = None
    except GuestLost as error:
        if current is None:
            raise
        current.end = HUNG if isinstance(error, GuestHung) else DIED
        current.detail = error.reason
        yield current


def _result(event: Event) -> TestResult:
    failure = event["failure"] or {}
    message = failure.get("message") or event["skip"] or ""
    return TestResult(event["outcome"], tuple(event["rules"]), message)


def _write_payload(bench: Bench, batch: Sequence[Trial], files: RunFiles) -> None:
    lab = bench.lab
    folder = paths.cache() / "stage" / lab.image.folder.name
    folder.mkdir(parents=True, exist_ok=True)
    kit = payload.stage_kit(paths.KIT, lab.image.sandbox, folder, bench.logs / "stage.log")
    tree = payload.stage_modules(bench.module, lab.kernel, lab.image.sandbox, files.folder)
    job = Job(
        module=bench.module.name,
        scratch=bench.scratch,
        tests=(),
        pytest_args=(),
        quiet=bench.quiet / 2,
        trials=[PayloadTrial(one.name, one.tests) for one in batch],
    )
    payload.write(files.payload, job, kit, tree, {one.name: one.module for one in batch})


class Journal:
    """Outcomes on disk, so that a run which was stopped can go on.

    Args:
        path: The file, one JSON object a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Outcome]:
        """Return what is known, the newest of each name. A line that was cut is left out."""
        found: dict[str, Outcome] = {}
        if self._path.exists():
            for line in self._path.read_text("utf-8").splitlines():
                if line.endswith("}"):
                    outcome = Outcome.from_json(json.loads(line))
                    found[outcome.name] = outcome
        return found

    def add(self, outcome: Outcome) -> None:
        """Note an outcome."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(outcome.as_json()) + "\n")

    def known(self, trial: Trial) -> Outcome | None:
        """Return the outcome of the same module and at least the same tests, if there is one."""
        outcome = self.read().get(trial.name)
        if outcome is None or outcome.file != trial.module.name:
            return None
        return outcome if set(trial.tests) <= set(outcome.asked) else None
