# SPDX-License-Identifier: GPL-2.0-only
"""A run of the suite in the lab, from the request to the verdict."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from conformance import errors, requirements
from conformance.events.kinds import Agent, AgentError, Coverage, Event, Output, Phase
from conformance.lab.check import guests
from conformance.lab.check.coverage import Counts, evaluate
from conformance.lab.check.merged import Merged
from conformance.lab.check.prepare import LabRequest, Prepared, contents, prepare
from conformance.lab.guest.guest import Guest
from conformance.lab.guest.run import Contents
from conformance.lab.guest.run import guests as several
from conformance.report import Conclusion, Reporter, ReportError, Verdict
from conformance.report.verdict import worst
from conformance.running.follow import PYTEST_LOG, of_pytest, verdict_of
from conformance.running.history import History
from conformance.running.steps import Steps

_SEED = "--vfio-seed"

DRIVER_PHASES: dict[str, str] = {
    Phase.MODULE: "the driver could not be loaded",
    Phase.BIND: "the driver did not take the functions",
    Phase.UNLOAD: "the driver could not be removed",
    Phase.LEAKS: "the driver has lost memory",
    Phase.KERNEL: "the driver upset the kernel",
}
"""Phases of the agent in which a failure is the driver's."""


Touched = Callable[[Mapping[str, str], Mapping[str, str]], Sequence[str]]
"""From the sources of a driver, before and now, to the tests that its change concerns."""


def check(request: LabRequest, results: Path, out: TextIO, touched: Touched | None = None) -> int:
    """Judge a driver and return the exit code.

    Args:
        request: What is asked for.
        results: The folder of this run, which exists.
        out: Where progress and summary go.
        touched: Finds the tests that run first, after those that failed.

    Raises:
        ReportError: The results cannot be written.
    """
    catalogue = requirements.load()
    results = results.absolute()  # QEMU runs in another folder
    reporter = Reporter(results, out, requirements=catalogue, versions={})
    steps = Steps(reporter.note)
    run = _Run(request, results, reporter, steps, history(request), touched)
    verdict = verdict_of(run.judge, results)
    run.remember(verdict)
    for name, seconds in steps.times.items():
        reporter.timing(name, seconds)
    if summary := steps.summary():
        reporter.note(summary)
    return reporter.finish(verdict)


def check_each(
    request: LabRequest,
    folder: Callable[[str], Path],
    out: TextIO,
    touched: Callable[[LabRequest], Touched],
) -> int:
    """Judge a driver by each version that is asked for, and return the worst exit code.

    Args:
        request: What is asked for.
        folder: Makes the folder of the run that judges a version, empty for what is offered.
        out: Where progress and summary go.
        touched: Returns what finds the tests that run first; see `check`.

    Raises:
        ReportError: The results cannot be written.
    """
    codes: list[int] = []
    for protocol in request.judged:
        one = request.by(protocol)
        codes.append(check(one, folder(protocol or ""), out, touched(one)))
        if codes[-1] == Conclusion.INTERRUPTED.exit_code:
            break
    return worst(codes)


@dataclass
class _Run:
    """What a run consists of, until it has its verdict."""

    request: LabRequest
    results: Path
    reporter: Reporter
    steps: Steps
    known: History
    touched: Touched | None
    sources: dict[str, str] = field(default_factory=dict)

    def judge(self) -> Verdict:
        """Have the driver judged."""
        steps, options = self.steps, self.request.options
        prepared = prepare(self.request, self.results, steps)
        if prepared is None:
            return Verdict.lab_failed("nothing was prepared")
        for name, value in prepared.versions.items():
            self.reporter.version(name, value)
        count = guests.number(options, prepared, self.known)
        first = [sorted(self.known.failed), self._touched(prepared)]
        inside = planned(contents(self.request, prepared), self.known, first, count)
        if count > 1:
            steps.say(f"{count} guests share the tests.")
        run = several(prepared.lab, inside, self.results, steps, count, cold=options.cold)
        with run as coming:
            merged = Merged(count, options.quiet, self.results, steps.say)
            events = _timed(merged, coming, steps)
            return _follow(events, prepared, self.results, self.reporter)

    def _touched(self, prepared: Prepared) -> list[str]:
        """Return the tests that the change of the driver since the last run concerns."""
        self.sources = prepared.sources
        if self.touched is None or not self.known.sources:
            return []
        with self.steps.step("changes"):
            tests = self.touched(self.known.sources, self.sources)
        if tests:
            self.steps.say(f"{len(tests)} tests of the code that was changed come first.")
        return list(tests)

    def remember(self, verdict: Verdict) -> None:
        """Keep for the next run what this one has shown."""
        records = self.reporter.results.tests.values()
        died = verdict.conclusion is Conclusion.KERNEL_DIED
        if records:
            with contextlib.suppress(ReportError):  # it only makes the next run quicker
                self.known.update(records, self.sources, died=died)


def history(request: LabRequest) -> History:
    """Return what earlier runs have shown of the tests of the driver that is asked for."""
    options = request.options
    name = options.module.name.partition(".")[0] if options.module else request.name
    return History.load(name, options.protocol or "", request.definition.name)


def planned(
    inside: Contents, known: History, first: Sequence[Sequence[str]], count: int
) -> Contents:
    """Return the contents of guests that share the tests: the same plan and seed for all."""
    plan = {"first": first, "lengths": known.lengths}
    words = list(inside.job.pytest_args)
    if count > 1 and not any(word.startswith(_SEED) for word in words):
        words += [_SEED, str(random.SystemRandom().randrange(1 << 32))]
    return replace(inside, job=replace(inside.job, pytest_args=words), plan=plan)


def _timed(merged: Merged, coming: Iterable[Guest], steps: Steps) -> Iterator[Event]:
    """Yield what the guests say, and keep the time of the agent's phases."""
    begun = 0.0
    for event in merged.events(coming):
        begun = begun or merged.begun
        if isinstance(event, Agent) and event.phase != Phase.TESTS:
            now = time.monotonic()
            name = "tests" if event.phase == Phase.TESTS_ENDED else f"guest {event.phase}"
            steps.times[name] = now - begun
            begun = now
        yield event


def _follow(
    events: Iterable[Event], prepared: Prepared, results: Path, reporter: Reporter
) -> Verdict:
    """Report events until the guest is done, and say how it ended.

    Raises:
        DriverError: The driver could not be put in place or taken away.
        AgentError: The agent gave up for another reason.
    """
    verdict = Verdict.completed()
    failed: errors.DriverError | None = None
    counts = Counts(results / "coverage")
    for event in events:
        if isinstance(event, Output):
            (results / PYTEST_LOG).write_text(event.text, encoding="utf-8")
            continue
        if isinstance(event, Coverage):
            counts.add(event.path, event.data)
            continue
        reporter.feed(event)  # first, so that the kernel log is in the report
        match event:
            case AgentError():
                hint = f"the module was {prepared.module.path}" if prepared.module else ""
                failed = driver_error(event, hint)
            case Agent(Phase.TESTS_ENDED, status):
                verdict = of_pytest(int(status), results, reporter)
    if counts.found:
        evaluate(counts, prepared.lab.image.sandbox, results, reporter.note)
    if failed:
        raise failed
    return verdict


def driver_error(event: AgentError, hint: str = "", klog: Sequence[str] = ()) -> errors.DriverError:
    """Return the error for a phase that is the driver's; raise the lab's for any other.

    Args:
        event: What the agent said.
        hint: Where to look.
        klog: Lines of the kernel's log that nothing else shows.
    """
    phase, message = event.phase, event.message
    if phase not in DRIVER_PHASES:
        raise errors.AgentError(f"The guest's agent gave up ({phase}): {message}")
    return errors.DriverError(f"{DRIVER_PHASES[phase]}: {message}", klog, hint=hint)
