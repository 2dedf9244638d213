# SPDX-License-Identifier: GPL-2.0-only
"""Failed tests for the author of the driver: rule by rule, what was done and what came back."""

from collections.abc import Iterator

from conformance.events.kinds import BAD, TestOutcome
from conformance.report.results import Results, TestRecord
from conformance.report.text import Style, block, listing, printable
from conformance.requirements import load_catalogue

_FULL = 3  # tests of a rule shown in full; one line for each other, all of it in the files
_CALLS = 20  # decoded calls shown; a test's own calls are at the end
_KLOG = 40  # kernel log lines shown


def explain(results: Results, style: Style, width: int) -> Iterator[str]:
    """Yield the lines about all failed tests, those of a rule together."""
    for rules, records in by_rules(results).items():
        yield ""
        yield from _heading(rules, records, results, style, width)
        for record in records[:_FULL]:
            yield from _test(record, width)
        if rest := records[_FULL:]:
            yield ""
            yield f"  {len(rest)} more, in full in results.json:"
            for record in rest:
                yield from block("", line(record), width)


def by_rules(results: Results) -> dict[tuple[str, ...], list[TestRecord]]:
    """Return the failed tests by the rules that they break, in the order in which they ran."""
    blamed: dict[tuple[str, ...], list[TestRecord]] = {}
    for record in results.tests.values():
        if record.outcome in BAD:
            blamed.setdefault(_blamed(record, results), []).append(record)
    return blamed


def _blamed(record: TestRecord, results: Results) -> tuple[str, ...]:
    """Return the rule that a check says was broken, or all the rules of the test."""
    failure = record.result.failure if record.result else None
    if failure and failure.rule in results.requirements:
        return (failure.rule,)
    return record.rules


def _heading(
    rules: tuple[str, ...], records: list[TestRecord], results: Results, style: Style, width: int
) -> Iterator[str]:
    failed = any(record.outcome is TestOutcome.FAILED for record in records)
    word = "FAILED" if failed else "ERROR"
    yield style.red(f"{word}  {', '.join(rules) or 'a test of the kit'}")
    for rule in rules:
        requirement = results.requirements[rule]
        yield from block("rule", requirement.text, width)
        yield from block("level", requirement.level, width)
        yield from block("source", "; ".join(map(source, requirement.sources)), width)


def _test(record: TestRecord, width: int) -> Iterator[str]:
    result = record.result
    yield ""
    yield from block("test", record.id, width)
    if result is None:
        return
    if (failure := result.failure) is not None:
        yield from block("did", failure.did, width)
        yield from block("expected", failure.expected, width)
        yield from block("came back", failure.actual, width)
        if not all(part in failure.message for part in (failure.expected, failure.actual)):
            yield from block("message", failure.message, width)
        yield from block("where", where(failure.where), width)
    yield from listing("VFIO calls", result.calls, _CALLS)
    yield from listing("kernel log", result.klog, _KLOG)


def line(record: TestRecord) -> str:
    """Say in a line what a test expected and what came back."""
    failure = record.result.failure if record.result else None
    if failure is None:
        return record.id
    said = failure.message
    if failure.expected and failure.actual:
        said = f"expected {failure.expected}, came back {failure.actual}"
    return printable(f"{record.id}: {said}").replace("\n", " ")


def where(place: str) -> str:
    """Name a place of the kit as it is called in the checkout, wherever it ran.

    >>> where("/run/kit/conformance/suite/v1/states/test_state.py:41")
    'conformance/suite/v1/states/test_state.py:41'
    """
    _, found, rest = place.rpartition("/conformance/")
    return f"conformance/{rest}" if found else place


def source(key: str) -> str:
    """Return the name of a source of rules, and where to read it."""
    found = load_catalogue().sources.get(key)
    return f"{found.name} ({found.where})" if found else key
