# SPDX-License-Identifier: GPL-2.0-only
"""A run of the suite in the lab, from the request to the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from conformance import errors, requirements
from conformance.errors import ConformanceError, GuestLost
from conformance.events.errors import EventError
from conformance.events.kinds import Agent, AgentError, Coverage, Event, Output, Phase
from conformance.lab.check.coverage import Counts, evaluate
from conformance.lab.check.prepare import Prepared, Request, prepare, write_payload
from conformance.lab.guest.bringup import ready_guest
from conformance.lab.guest.qemu import run_folder
from conformance.report import Conclusion, Reporter, ReportError, Verdict
from conformance.running.steps import Steps
from kpatch.errors import KpatchError

DRIVER_PHASES: dict[str, str] = {
    Phase.MODULE: "the driver could not be loaded",
    Phase.BIND: "the driver did not take the functions",
    Phase.UNLOAD: "the driver could not be removed",
    Phase.LEAKS: "the driver has lost memory",
}
"""Phases of the agent in which a failure is the driver's."""

_REFUSED = "4"
"""pytest's status for arguments that it does not take."""

_TAIL = 20
"""Lines of pytest's own output that are shown when it broke."""


def check(request: Request, results: Path, out: TextIO) -> int:
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
    try:
        verdict = _judge(request, results, reporter, steps)
    except KeyboardInterrupt:
        verdict = Verdict.interrupted(f"interrupted; the logs are in {results}")
    except GuestLost as error:
        verdict = Verdict.kernel_died(error.reason, error.console)
    except (ConformanceError, KpatchError, ReportError, EventError, OSError) as error:
        verdict = failure(error)
    for name, seconds in steps.times.items():
        reporter.timing(name, seconds)
    if summary := steps.summary():
        reporter.note(summary)
    return reporter.finish(verdict)


def failure(error: Exception) -> Verdict:
    """Return the verdict for an error that is nobody's but the lab's or the user's."""
    if getattr(error, "exit_code", 4) == Conclusion.BAD_USAGE.exit_code:
        return Verdict.bad_usage(str(error))
    return Verdict.lab_failed(str(error))


def _judge(request: Request, results: Path, reporter: Reporter, steps: Steps) -> Verdict:
    prepared = prepare(request, results, steps)
    if prepared is None:
        return Verdict.lab_failed("nothing was prepared")
    for name, value in prepared.versions.items():
        reporter.version(name, value)
    with run_folder(results) as files:
        with steps.step("payload"):
            write_payload(request, prepared, files.payload, results)
        with ready_guest(prepared.lab, files, steps, cold=request.options.cold) as guest:
            guest.order("check")
            events = guest.events(request.options.quiet)
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
    """Report events until the guest is done, and say how it ended."""
    verdict = Verdict.completed()
    counts = Counts(results / "coverage")
    for event in events:
        if isinstance(event, Output):
            (results / "pytest.log").write_text(event.text, encoding="utf-8")
            continue
        if isinstance(event, Coverage):
            counts.add(event.path, event.data)
            continue
        reporter.feed(event)  # first, so that the kernel's log is in the report
        match event:
            case AgentError():
                verdict = _agent_error(event, prepared)
            case Agent(Phase.TESTS_ENDED, detail) if detail not in ("0", "1"):
                _show(results / "pytest.log", reporter)
                if detail == _REFUSED:
                    hint = "its words are above"
                    verdict = Verdict.bad_usage("pytest refused its arguments", hint)
    if counts.found:
        evaluate(counts, prepared.lab.image.sandbox, results, reporter.note)
    return verdict


def _agent_error(event: AgentError, prepared: Prepared) -> Verdict:
    phase, message = event.phase, event.message
    if phase not in DRIVER_PHASES:
        raise errors.AgentError(f"The guest's agent gave up ({phase}): {message}")
    reason = f"{DRIVER_PHASES[phase]}: {message}"
    hint = f"the module was {prepared.module.path}" if prepared.module else ""
    return Verdict(Conclusion.REQUIREMENT_FAILED, reason, hint)


def _show(log: Path, reporter: Reporter) -> None:
    """Show what pytest said when it broke: no event carries that."""
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines()[-_TAIL:]:
            reporter.note(f"  {line}")
