# SPDX-License-Identifier: GPL-2.0-only
"""A run of the suite in the lab, from the request to the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from conformance import errors, requirements
from conformance.events.kinds import Agent, AgentError, Coverage, Event, Output, Phase
from conformance.lab.check.coverage import Counts, evaluate
from conformance.lab.check.prepare import LabRequest, Prepared, contents, prepare
from conformance.lab.guest.run import guest
from conformance.report import Reporter, Verdict
from conformance.running.follow import PYTEST_LOG, of_pytest, verdict_of
from conformance.running.steps import Steps

DRIVER_PHASES: dict[str, str] = {
    Phase.MODULE: "the driver could not be loaded",
    Phase.BIND: "the driver did not take the functions",
    Phase.UNLOAD: "the driver could not be removed",
    Phase.LEAKS: "the driver has lost memory",
    Phase.KERNEL: "the driver upset the kernel",
}
"""Phases of the agent in which a failure is the driver's."""


def check(request: LabRequest, results: Path, out: TextIO) -> int:
    """Judge a driver and return the exit code.

    Args:
        request: What is asked for.
        results: The folder of this run, which exists.
        out: Where progress and summary go.

    Raises:
        ReportError: The results cannot be written.
    """
    catalogue = requirements.load()
    results = results.absolute()  # QEMU runs in another folder
    reporter = Reporter(results, out, requirements=catalogue, versions={})
    steps = Steps(reporter.note)
    verdict = verdict_of(lambda: _judge(request, results, reporter, steps), results)
    for name, seconds in steps.times.items():
        reporter.timing(name, seconds)
    if summary := steps.summary():
        reporter.note(summary)
    return reporter.finish(verdict)


def _judge(request: LabRequest, results: Path, reporter: Reporter, steps: Steps) -> Verdict:
    prepared = prepare(request, results, steps)
    if prepared is None:
        return Verdict.lab_failed("nothing was prepared")
    for name, value in prepared.versions.items():
        reporter.version(name, value)
    inside = contents(request, prepared)
    with guest(prepared.lab, inside, results, steps, cold=request.options.cold) as running:
        running.order("check")
        events = running.events(request.options.quiet)
        return _follow(_timed(events, steps), prepared, results, reporter)


def _timed(events: Iterable[Event], steps: Steps) -> Iterable[Event]:
    """Pass events on and keep the time of the agent's phases."""
    begun = time.monotonic()
    for event in events:
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
