# SPDX-License-Identifier: GPL-2.0-only
"""One failed test, told to the author of the driver."""

from conformance.report.results import Results, TestOutcome, TestRecord
from conformance.report.text import Style, block, listing, printable
from conformance.requirements import load_catalogue

_CALLS = 20  # decoded calls shown; a test's own calls are at the end
_KLOG = 40  # kernel log lines shown


def explain(record: TestRecord, results: Results, style: Style, width: int) -> list[str]:
    """Return which rule failed, what was done, what was expected, what came back."""
    result = record.result
    failure = result.failure if result else None
    blamed = failure.rule if failure and failure.rule in results.requirements else ""
    rules = [blamed] if blamed else list(record.rules)
    word = "FAILED" if record.outcome is TestOutcome.FAILED else "ERROR"
    lines = [style.red(f"{word}  {', '.join(rules) or printable(record.id)}")]
    for rule in rules:
        requirement = results.requirements[rule]
        lines += block("rule", requirement.text, width)
        lines += block("level", requirement.level, width)
        lines += block("source", "; ".join(map(_source, requirement.sources)), width)
    lines += block("test", record.id, width)
    if failure is not None:
        lines += block("did", failure.did, width)
        lines += block("expected", failure.expected, width)
        lines += block("came back", failure.actual, width)
        if not all(part in failure.message for part in (failure.expected, failure.actual)):
            lines += block("message", failure.message, width)
        lines += block("where", _where(failure.where), width)
    if result is not None:
        lines += listing("VFIO calls", result.calls, _CALLS)
        lines += listing("kernel log", result.klog, _KLOG)
    return lines


def _where(place: str) -> str:
    """Name a place of the kit as it is called in the checkout, wherever it ran.

    >>> _where("/run/kit/conformance/suite/test_state.py:41")
    'conformance/suite/test_state.py:41'
    """
    _, found, rest = place.rpartition("/conformance/")
    return f"conformance/{rest}" if found else place


def _source(key: str) -> str:
    source = load_catalogue().sources.get(key)
    return f"{source.name} ({source.where})" if source else key
