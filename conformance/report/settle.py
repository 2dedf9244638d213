# SPDX-License-Identifier: GPL-2.0-only
"""From what the host saw and what the guest said to one verdict.

A run conforms only if it is whole: everything that was collected ran, pytest's own
status agrees with the results, and at least one rule was judged.
"""

from enum import IntEnum

from conformance.events.kinds import TestOutcome
from conformance.report.results import Results, RuleVerdict
from conformance.report.text import plural
from conformance.report.verdict import Conclusion, Verdict
from conformance.requirements import LEVELS


class ExitCode(IntEnum):
    """Statuses of pytest, as its documentation has them."""

    OK = 0
    TESTS_FAILED = 1
    USAGE_ERROR = 4
    NO_TESTS_COLLECTED = 5


def settle(verdict: Verdict, results: Results, problem: str = "") -> Verdict:
    """Return the verdict of the run.

    Args:
        verdict: what the host saw; kept unless it says that the run was completed.
        results: what the guest said.
        problem: what was wrong with the stream of events, if anything.
    """
    if verdict.conclusion is not Conclusion.CONFORMS:
        return verdict
    return _incomplete(results, problem) or _not_applicable(results) or _judge(results)


def shown_by_tests(verdict: Verdict, results: Results) -> bool:
    """Whether the tests alone account for a verdict, so that files need nothing more."""
    failed = results.count(TestOutcome.FAILED) + results.count(TestOutcome.ERROR)
    conclusion = verdict.conclusion
    return conclusion is Conclusion.CONFORMS or (
        conclusion is Conclusion.REQUIREMENT_FAILED and failed > 0
    )


def follows_from_rules(verdict: Verdict, results: Results) -> bool:
    """Whether a verdict says no more than that of each rule: the run was whole and ended well."""
    return not _incomplete(results, "") and verdict == _judge(results)


def _incomplete(results: Results, problem: str) -> Verdict | None:
    """Why the results prove nothing, or None if they are whole."""
    if problem:
        return Verdict.lab_failed(problem)
    if (error := results.agent_error) is not None:
        return Verdict.lab_failed(f"the guest's agent gave up ({error.phase}): {error.message}")
    if results.finish is not None:
        return _unsound(results, results.finish.status)
    said = "never ended" if results.session else "never began"
    return Verdict.lab_failed(f"the suite {said} although the guest ended normally")


def _unsound(results: Results, status: int) -> Verdict | None:
    """Why a suite that ended with pytest's `status` is not to be believed, or None."""
    missing = results.count(TestOutcome.NOT_RUN)
    running = results.running
    match status:
        case ExitCode.USAGE_ERROR:
            hint = "see the console log"
            return Verdict.bad_usage("pytest refused its arguments", hint)
        case ExitCode.NO_TESTS_COLLECTED:
            return Verdict.bad_usage("no test was selected", "check the expressions of -k and -m")
        case ExitCode.OK | ExitCode.TESTS_FAILED if running:
            return Verdict.lab_failed(f"pytest ended but left {running[0].id} without a result")
        case ExitCode.OK if missing:
            return Verdict.lab_failed(f"pytest reports success, but {missing} tests did not run")
        case ExitCode.OK | ExitCode.TESTS_FAILED:
            return None
    return Verdict.lab_failed(f"pytest ended with status {status}: an error of its own")


def _not_applicable(results: Results) -> Verdict | None:
    """Say so if the device offers nothing to judge: that must not look like conforming."""
    if results.session is None or not results.session.lacking:
        return None
    hint = "bind the driver that is to be judged"
    return Verdict(Conclusion.NOT_APPLICABLE, results.session.lacking, hint)


def _judge(results: Results) -> Verdict:
    failed = [rule for rule in results.rules() if rule.verdict is RuleVerdict.FAILED]
    if failed:
        levels = [rule.requirement.level for rule in failed]
        counts = [(levels.count(level), f"{level} rule") for level in LEVELS]
        said = ", ".join(plural(count, what) for count, what in counts if count)
        return Verdict(Conclusion.REQUIREMENT_FAILED, f"{said} failed")
    broken = results.count(TestOutcome.FAILED) + results.count(TestOutcome.ERROR)
    if broken:
        return Verdict.lab_failed(f"{plural(broken, 'test')} of the kit itself failed")
    if results.finish is not None and results.finish.status != ExitCode.OK:
        return Verdict.lab_failed("pytest reports a failure, but no test failed")
    if not any(rule.verdict is RuleVerdict.PASSED for rule in results.rules()):
        return Verdict.lab_failed("no rule was judged, all tests were skipped")
    return Verdict.completed()
