# SPDX-License-Identifier: GPL-2.0-only
"""KTAP version 1: a subtest for each group of rules, a case for each test.

The form is Documentation/dev-tools/ktap.rst of the kernel; what the kernel's own
kunit_parser.py takes for structure inside a diagnostic line is kept out of it.
"""

from collections.abc import Iterator

from conformance.events.kinds import BAD, TestOutcome
from conformance.report.results import Results, TestRecord
from conformance.report.settle import shown_by_tests
from conformance.report.text import printable
from conformance.report.verdict import Verdict

_INDENT = "    "
# kunit_parser.py stops reading wherever one of these appears in a line.
_ENDINGS = ("List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted")
_UNJUDGED = frozenset({TestOutcome.SKIPPED, TestOutcome.NOT_APPLICABLE, TestOutcome.NOT_RUN})


def render(results: Results, verdict: Verdict) -> str:
    """Return the run as KTAP; ends with a failed case if the run did not end well."""
    groups = results.tests_by_group()
    ended_well = shown_by_tests(verdict, results)
    lines = ["KTAP version 1", f"1..{len(groups) + (not ended_well)}"]
    for number, (name, tests) in enumerate(groups.items(), 1):
        bad = any(test.outcome in BAD or test.outcome is TestOutcome.RUNNING for test in tests)
        skipped = all(test.outcome in _UNJUDGED for test in tests)
        lines += [_INDENT + line for line in _group(name, tests, verdict)]
        lines.append(_case(number, name, good=not bad, skip="all of its tests" if skipped else ""))
    if not ended_well:
        lines += _diagnostics(f"{verdict.conclusion.word}: {verdict.reason}", *verdict.console)
        lines.append(_case(len(groups) + 1, "run", good=False))
    return "\n".join(lines) + "\n"


def _group(name: str, tests: list[TestRecord], verdict: Verdict) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"# Subtest: {name}"
    yield f"1..{len(tests)}"
    for number, test in enumerate(tests, 1):
        yield from _test(number, test, verdict)


def _test(number: int, test: TestRecord, verdict: Verdict) -> Iterator[str]:
    yield from _diagnostics(f"rules: {' '.join(test.rules)}") if test.rules else ()
    match test.outcome:
        case TestOutcome.PASSED:
            yield from _observed(test)
            yield _case(number, test.id, good=True)
        case TestOutcome.SKIPPED:
            reason = (test.result and test.result.skip) or "no reason given"
            yield _case(number, test.id, good=True, skip=reason)
        case TestOutcome.NOT_APPLICABLE:
            reason = (test.result and test.result.skip) or "no reason given"
            yield _case(number, test.id, good=True, skip=f"not applicable: {reason}")
        case TestOutcome.NOT_RUN:
            yield _case(number, test.id, good=True, skip=f"not run: {verdict.conclusion.word}")
        case TestOutcome.RUNNING:
            yield from _diagnostics(f"this test was running when the run ended: {verdict.reason}")
            yield _case(number, test.id, good=False)
        case TestOutcome.FAILED | TestOutcome.ERROR:
            yield from _failure(test)
            yield _case(number, test.id, good=False)


def _failure(test: TestRecord) -> Iterator[str]:
    result = test.result
    if result is None:
        return
    if (failure := result.failure) is not None:
        for label in ("rule", "message", "did", "expected", "actual", "where"):
            if text := getattr(failure, label):
                yield from _diagnostics(f"{label}: {text}")
    yield from _diagnostics(*(f"call: {call}" for call in result.calls))
    yield from _diagnostics(*(f"kernel: {line}" for line in result.klog))


def _observed(test: TestRecord) -> Iterator[str]:
    if test.result:
        for rule, outcome in test.result.observed.items():
            yield from _diagnostics(f"observed: {rule} {outcome}")


def _case(number: int, name: str, *, good: bool, skip: str = "") -> str:
    # A '#' begins a directive; the parsers know no way to quote it.
    plain = " ".join(printable(name).replace("#", "+").split())
    directive = f" # SKIP {' '.join(printable(skip).split())}" if skip else ""
    return f"{'ok' if good else 'not ok'} {number} {plain}{directive}"


def _diagnostics(*entries: str) -> Iterator[str]:
    for entry in entries:
        for line in printable(entry).splitlines():
            yield f"# {_harmless(line)}".rstrip()


def _harmless(line: str) -> str:
    for ending in _ENDINGS:
        line = line.replace(ending, ending.replace(":", " :"))
    return line.replace("Subtest: ", "Subtest ", 1) if line.startswith("Subtest: ") else line
