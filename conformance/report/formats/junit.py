# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML: a suite for each group of rules, a case for each test.

A failed requirement is a `failure`, everything else that went wrong an `error`, so
that a server that shows the file does not blame the driver for the lab.
"""
# mypy: allow-untyped-calls
# (junitparser ships py.typed, but only some of its methods have annotations)

from collections.abc import Mapping
from xml.etree import ElementTree

from junitparser import (
    Error,
    Failure,
    JUnitXml,
    Properties,
    Property,
    Skipped,
    TestCase,
    TestSuite,
)

from conformance.events.kinds import TestOutcome
from conformance.report.results import Results, TestRecord
from conformance.report.settle import shown_by_tests
from conformance.report.text import printable, shortened
from conformance.report.verdict import Conclusion, Verdict

#: libxml2 refuses text and attributes of 10 MB, which servers use to read the file.
_LONGEST = 200_000
_LONGEST_MESSAGE = 4_000


def _cut(text: str, limit: int = _LONGEST) -> str:
    """Return a text that is harmless in XML, without its middle if it is too long."""
    return printable(shortened(text, limit))


def render(results: Results, verdict: Verdict, versions: Mapping[str, str]) -> str:
    """Return the run as JUnit XML."""
    xml = JUnitXml("vfio-migration-conformance")
    for name, tests in results.tests_by_group().items():
        suite = TestSuite(name)
        for key, value in versions.items():
            suite.add_property(key, _cut(value, _LONGEST_MESSAGE))
        suite.add_testcases([_case(test, verdict) for test in tests])
        xml.add_testsuite(suite)
    if not shown_by_tests(verdict, results):
        xml.add_testsuite(_ending(verdict))
    xml.update_statistics()
    # Not write(), which takes files only in the junitparser of some distributions.
    tree = ElementTree.fromstring(xml.tostring())  # noqa: S314 - made a moment ago, here
    ElementTree.indent(tree, "\t")
    text: bytes = ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def _case(test: TestRecord, verdict: Verdict) -> TestCase:
    duration = test.result.duration if test.result else 0.0
    case = TestCase(_cut(test.id, _LONGEST_MESSAGE), f"conformance.{test.group}", duration)
    _properties(case, test)
    result = _result(test, verdict)
    if result is not None:
        case.append(result)
    if test.result and test.result.calls:
        case.system_out = _cut("\n".join(test.result.calls))
    if test.result and test.result.klog:
        case.system_err = _cut("\n".join(test.result.klog))
    return case


def _properties(case: TestCase, test: TestRecord) -> None:
    properties = Properties()
    for rule in test.rules:
        properties.add_property(Property("rule", rule))
    for rule, outcome in (test.result.observed if test.result else {}).items():
        properties.add_property(Property(f"observed.{rule}", _cut(outcome, _LONGEST_MESSAGE)))
    if list(properties):
        case.append(properties)


def _result(test: TestRecord, verdict: Verdict) -> Failure | Error | Skipped | None:
    match test.outcome:
        case TestOutcome.PASSED:
            return None
        case TestOutcome.SKIPPED | TestOutcome.NOT_APPLICABLE | TestOutcome.NOT_RUN:
            return _unjudged(test, verdict)
        case TestOutcome.RUNNING:
            reason = f"was running when the run ended: {verdict.reason}"
            return Error(_cut(reason, _LONGEST_MESSAGE), verdict.conclusion.word)
        case TestOutcome.FAILED:
            return _explained(Failure("", "requirement"), test)
        case TestOutcome.ERROR:
            return _explained(Error("", "error"), test)


def _unjudged(test: TestRecord, verdict: Verdict) -> Skipped:
    reason = printable((test.result and test.result.skip) or "no reason given")
    match test.outcome:
        case TestOutcome.NOT_RUN:
            return Skipped(f"not run: {verdict.conclusion.word}", "not-run")
        case TestOutcome.NOT_APPLICABLE:
            return Skipped(f"not applicable: {reason}", "not-applicable")
    return Skipped(reason)


def _explained(kind: Failure | Error, test: TestRecord) -> Failure | Error:
    failure = test.result.failure if test.result else None
    if failure is None:
        kind.message = "no details"
        return kind
    message = failure.message or f"expected {failure.expected}"
    kind.message = _cut(message, _LONGEST_MESSAGE).replace("\n", " ")
    labels = ("rule", "did", "expected", "actual", "message", "where")
    kind.text = _cut("\n".join(f"{x}: {getattr(failure, x)}" for x in labels))
    return kind


def _ending(verdict: Verdict) -> TestSuite:
    """Return a suite of its own for a run whose tests do not show how it ended."""
    suite = TestSuite("run")
    case = TestCase("run", "conformance.run", 0.0)
    blamed = verdict.conclusion is Conclusion.REQUIREMENT_FAILED
    kind = Failure if blamed else Error
    error = kind(_cut(verdict.reason, _LONGEST_MESSAGE), verdict.conclusion.word)
    error.text = _cut("\n".join(verdict.console))
    case.append(error)
    suite.add_testcase(case)
    return suite
