# SPDX-License-Identifier: GPL-2.0-only
"""The page of a run of the suite: verdict, failures, rules, state graph, times, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from conformance.report import failure
from conformance.report.page import graph
from conformance.report.page.environment import page, window_title
from conformance.report.results import Results, RuleResult, RuleVerdict, TestRecord
from conformance.report.terminal import summary
from conformance.report.text import shortened
from conformance.report.verdict import Conclusion, Verdict
from conformance.requirements import LEVELS, load_catalogue

_FULL: Final = 5  # tests of a rule shown in full; one line for each other
_LINES: Final = 200  # calls and lines of logs shown of a test; the end says why it failed
_LONGEST: Final = 8000  # characters of one of them
_SLOWEST: Final = 10


@dataclass(frozen=True)
class Listing:
    """Lines of a log, the last ones of many."""

    label: str
    lines: tuple[str, ...]
    number: int  # how many there were

    @classmethod
    def of(cls, label: str, entries: Sequence[str]) -> Listing:
        """Return the end of a log."""
        shown = tuple(shortened(entry, _LONGEST) for entry in entries[-_LINES:])
        return cls(label, shown, len(entries))


@dataclass(frozen=True)
class FailedTest:
    """A failed test in full: what was done, and what came back."""

    id: str
    outcome: str
    facts: Mapping[str, str]
    logs: tuple[Listing, ...]


@dataclass(frozen=True)
class Failed:
    """A rule that failed, or several that one test is about, with the tests that say so."""

    title: str
    rules: tuple[RuleResult, ...]
    tests: tuple[FailedTest, ...]
    more: tuple[str, ...]  # one line for each other test


@dataclass(frozen=True)
class Row:
    """A rule in the table."""

    rule: RuleResult
    source: str
    seconds: float
    notes: tuple[str, ...]
    failure: str  # the place in the page that explains it; empty if it did not fail


def render(
    results: Results,
    verdict: Verdict,
    versions: Mapping[str, str],
    timings: Mapping[str, float],
) -> str:
    """Return the run as a page; times in seconds."""
    session = results.session
    words = summary.CONCLUSIONS[verdict.conclusion]
    good = verdict.conclusion is Conclusion.CONFORMS
    failures = _failures(results)
    rows = _rows(results, failures)
    return page(
        "run.html.j2",
        title=window_title(f"{_driver(results, versions)}: {words}"),
        subject=_subject(results, versions),
        words=words,
        good=good,
        verdict=verdict,
        reason=summary.reach(results) if good else verdict.reason,
        tests=summary.tests_in_words(results).removeprefix("tests: ") if session else "",
        console=Listing.of("console of the guest", verdict.console),
        agent=results.agent_error,
        failures=failures,
        running=results.running,
        unjudged=_unjudged(results),
        volatile=session.volatile if session else (),
        switched_off=results.switched_off(),
        rows=rows,
        groups=[(name, _group_words(name)) for name in _occurring(results)],
        levels=[(level, level) for level in LEVELS],
        outcomes=[(str(one), one.replace("-", " ")) for one in RuleVerdict],
        counts={str(one): sum(row.rule.verdict is one for row in rows) for one in RuleVerdict},
        graph=graph.graph(results),
        half=graph.HALF,
        timings=timings,
        slowest=_slowest(results),
        versions=versions,
        facts=_facts(results),
    )


def _subject(results: Results, versions: Mapping[str, str]) -> str:
    """Name what is judged, as far as it is known."""
    device = results.session.device if results.session else {}
    parts = [_driver(results, versions)]
    parts += [f"for {device['bdf']}"] if device.get("bdf") else []
    kernel = versions.get("kernel")
    return " ".join([*parts, *([f"on Linux {kernel}"] if kernel else [])])


def _driver(results: Results, versions: Mapping[str, str]) -> str:
    device = results.session.device if results.session else {}
    return str(device.get("driver") or versions.get("module") or "a driver")


def _failures(results: Results) -> list[Failed]:
    found = []
    for rules, records in failure.by_rules(results).items():
        found.append(
            Failed(
                ", ".join(rules) or "a test of the kit",
                tuple(results.rule(rule) for rule in rules),
                tuple(_failed(record) for record in records[:_FULL]),
                tuple(failure.line(record) for record in records[_FULL:]),
            )
        )
    return found


def _failed(record: TestRecord) -> FailedTest:
    result = record.result
    facts: dict[str, str] = {}
    logs: list[Listing] = []
    if result and (why := result.failure):
        said = {"did": why.did, "expected": why.expected, "came back": why.actual}
        if not all(part in why.message for part in (why.expected, why.actual)):
            said["message"] = why.message
        said["where"] = failure.where(why.where)
        facts = {label: shortened(text, _LONGEST) for label, text in said.items() if text}
    if result:
        named = (("VFIO calls", result.calls), ("kernel log", result.klog))
        logs = [Listing.of(label, entries) for label, entries in named if entries]
    return FailedTest(record.id, str(record.outcome), facts, tuple(logs))


def _rows(results: Results, failures: Sequence[Failed]) -> list[Row]:
    explained: dict[str, str] = {}
    for number, one in enumerate(failures, 1):
        for blamed in one.rules:
            explained.setdefault(blamed.requirement.id, f"failure-{number}")
    rows = []
    for rule in results.rules():
        requirement = rule.requirement
        notes = [f"seen: {outcome}" for outcome in rule.observed]
        if rule.verdict in (RuleVerdict.SKIPPED, RuleVerdict.NOT_APPLICABLE):
            notes += rule.skip_reasons
        rows.append(
            Row(
                rule,
                "; ".join(map(failure.source, requirement.sources)),
                sum(test.result.duration for test in rule.tests if test.result),
                tuple(notes),
                explained.get(requirement.id, ""),
            )
        )
    return rows


def _unjudged(results: Results) -> dict[str, list[str]]:
    """Return the MUST rules that were not judged, by the reason."""
    musts = [rule for rule in results.rules() if rule.requirement.level == "MUST"]
    apart = (RuleVerdict.SKIPPED, RuleVerdict.NOT_APPLICABLE)
    found = summary.by_reason([rule for rule in musts if rule.verdict in apart])
    untested = [r.requirement.id for r in musts if r.verdict is RuleVerdict.NOT_TESTED]
    return {**found, **({"no test of it ran to its end": untested} if untested else {})}


def _occurring(results: Results) -> list[str]:
    return [group.name for group in results.groups()]


def _group_words(name: str) -> str:
    return load_catalogue().groups.get(name, name)


def _slowest(results: Results) -> list[tuple[str, float]]:
    found = [(one.id, one.result.duration) for one in results.tests.values() if one.result]
    return sorted(found, key=lambda one: -one[1])[:_SLOWEST]


def _facts(results: Results) -> dict[str, str]:
    """Return what the session says of itself: functions, version of the protocol, seed."""
    session = results.session
    if session is None:
        return {}
    found: dict[str, Any] = {
        "function": _device(session.device),
        "destination": _device(session.peer) if session.peer else "none",
        "protocol": f"version {session.protocol}" if session.protocol else "not said",
        "seed": session.seed if session.seed is not None else "none",
        "tests in parallel": session.workers,
    }
    return {label: str(value) for label, value in found.items()}


def _device(device: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in device.items())
