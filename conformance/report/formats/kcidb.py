# SPDX-License-Identifier: GPL-2.0-only
"""kcidb.json: the run for KCIDB, the database of all CI systems that test the kernel.

The form is version 5.0 of its schema, which every later 5.x takes. A checkout is the kernel, a
build the driver on it, a test a rule; the test without a rule is the run itself, so that a kernel
that died or a lab that failed is there as well.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from conformance.events.kinds import BAD, TestOutcome
from conformance.report import failure
from conformance.report.results import Results, RuleResult, RuleVerdict
from conformance.report.text import printable, shortened
from conformance.report.verdict import Conclusion, Verdict

#: Names the CI system that submits; without it, the kit.
ORIGIN: Final = "VFIO_KIT_ORIGIN"
PATH: Final = "vfio_migration"
_LONGEST: Final = 16_000  # characters of a log; the schema takes 16384

_OF_RUN: Final[Mapping[Conclusion, str]] = {
    Conclusion.CONFORMS: "PASS",
    Conclusion.REQUIREMENT_FAILED: "FAIL",
    Conclusion.KERNEL_DIED: "FAIL",
    Conclusion.NOT_APPLICABLE: "SKIP",
    Conclusion.BAD_USAGE: "MISS",
    Conclusion.LAB_FAILED: "MISS",
    Conclusion.INTERRUPTED: "MISS",
}
_OF_RULE: Final[Mapping[RuleVerdict, str]] = {
    RuleVerdict.PASSED: "PASS",
    RuleVerdict.FAILED: "FAIL",
    RuleVerdict.SKIPPED: "SKIP",
    RuleVerdict.NOT_APPLICABLE: "SKIP",
    RuleVerdict.NOT_TESTED: "MISS",
}


@dataclass(frozen=True)
class Run:
    """What distinguishes a run from all others: a name that no other has, and when it began."""

    id: str
    begun: datetime


def origin() -> str:
    """Return the name of the CI system, in the letters that KCIDB allows.

    >>> os.environ[ORIGIN] = "My Lab-1"
    >>> origin()
    'my_lab_1'
    >>> del os.environ[ORIGIN]
    >>> origin()
    'vfio_migration_kit'
    """
    named = re.sub(r"[^a-z0-9_]", "_", os.environ.get(ORIGIN, "").lower())
    return named or "vfio_migration_kit"


def render(
    results: Results,
    verdict: Verdict,
    versions: Mapping[str, str],
    timings: Mapping[str, float],
    run: Run,
) -> str:
    """Return the run as JSON for KCIDB; times in seconds."""
    own = origin()
    name = f"{own}:{run.id}"
    common = {"id": name, "origin": own, "start_time": run.begun.isoformat()}
    kernel = versions.get("kernel", "an unknown kernel")
    checkout = {**common, "comment": _harmless(f"Linux {kernel}"), "misc": _all(versions)}
    build: dict[str, Any] = {**common, "checkout_id": name, "comment": _driver(results, versions)}
    if results.session:  # else it is not known whether there was a driver
        build |= {"status": "PASS"}
    if "build" in timings:
        build["duration"] = round(timings["build"], 3)
    tests = [
        {"id": f"{name}:{test.pop('name')}", "origin": own, "build_id": name, **test}
        for test in (_whole(results, verdict, timings, run), *_rules(results))
    ]
    document = {
        "version": {"major": 5, "minor": 0},
        "checkouts": [checkout],
        "builds": [build],
        "tests": tests,
    }
    return json.dumps(document, indent=1) + "\n"


def _driver(results: Results, versions: Mapping[str, str]) -> str:
    device = results.session.device if results.session else {}
    return _harmless(str(device.get("driver") or versions.get("module") or "a driver"))


def _whole(
    results: Results, verdict: Verdict, timings: Mapping[str, float], run: Run
) -> dict[str, Any]:
    """Return the entry of the run itself."""
    session = results.session
    entry: dict[str, Any] = {
        "name": "run",
        "path": PATH,
        "status": _OF_RUN[verdict.conclusion],
        "comment": _harmless(verdict.reason or verdict.conclusion.word),
        "start_time": run.begun.isoformat(),
        "misc": {"exit_code": verdict.exit_code, "conclusion": verdict.conclusion.word},
    }
    if "total" in timings:
        entry["duration"] = round(timings["total"], 3)
    if verdict.console:
        entry["log_excerpt"] = _log(verdict.console)
    if session:
        entry["environment"] = {"misc": _all(session.device)}
        entry["misc"] |= {"protocol": session.protocol, "seed": session.seed}
    return entry


def _rules(results: Results) -> Iterator[dict[str, Any]]:
    """Yield the entries of the rules of which tests were planned."""
    for rule in results.rules():
        if rule.tests:
            yield _rule(rule)


def _rule(rule: RuleResult) -> dict[str, Any]:
    requirement = rule.requirement
    seconds = sum(test.result.duration for test in rule.tests if test.result)
    entry: dict[str, Any] = {
        "name": requirement.id,
        "path": f"{PATH}.{requirement.id}",
        "status": _status(rule),
        "comment": requirement.text,
        "duration": round(seconds, 3),
        "misc": {"level": requirement.level, "tests": [_harmless(test.id) for test in rule.tests]},
    }
    if rule.observed:
        entry["misc"]["observed"] = [_harmless(outcome) for outcome in rule.observed]
    if rule.verdict in (RuleVerdict.SKIPPED, RuleVerdict.NOT_APPLICABLE):
        entry["misc"]["because"] = [_harmless(reason) for reason in rule.skip_reasons]
    bad = [test for test in rule.tests if test.outcome in BAD and test.result]
    if bad:
        lines = [failure.line(test) for test in bad]
        first = bad[0].result
        entry["log_excerpt"] = _log((*lines, *(first.calls if first else ()), *_klog(rule)))
    return entry


def _status(rule: RuleResult) -> str:
    """Return the status of a rule; one whose tests broke down themselves says nothing of it."""
    outcomes = {test.outcome for test in rule.tests}
    if rule.verdict is RuleVerdict.FAILED and TestOutcome.FAILED not in outcomes:
        return "ERROR"
    return _OF_RULE[rule.verdict]


def _klog(rule: RuleResult) -> tuple[str, ...]:
    found = (test.result.klog for test in rule.tests if test.outcome in BAD and test.result)
    return next(found, ())


def _log(lines: tuple[str, ...]) -> str:
    return shortened(_harmless("\n".join(shortened(line, _LONGEST) for line in lines)), _LONGEST)


def _all(facts: Mapping[str, Any]) -> dict[str, str]:
    return {_harmless(name): _harmless(str(value)) for name, value in facts.items()}


def _harmless(text: str) -> str:
    return printable(shortened(text, _LONGEST))
