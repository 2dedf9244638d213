# SPDX-License-Identifier: GPL-2.0-only
"""results.json: every rule's verdict, every test, the versions and times of a run.

The number in `schema` grows when a key changes its meaning or goes; keys may be added
under the same number.
"""

import json
from collections.abc import Mapping
from typing import Any

from conformance.events.kinds import TestOutcome
from conformance.report.results import Results, RuleResult, RuleVerdict, TestRecord
from conformance.report.settle import follows_from_rules
from conformance.report.verdict import Verdict

SCHEMA = 1


def render(
    results: Results,
    verdict: Verdict,
    versions: Mapping[str, str],
    timings: Mapping[str, float],
) -> str:
    """Return the run as JSON; times in seconds."""
    session = results.session
    document = {
        "schema": SCHEMA,
        "verdict": {
            "conclusion": verdict.conclusion.word,
            "exit_code": verdict.exit_code,
            "reason": verdict.reason,
            "console": list(verdict.console),
            "follows_from_rules": follows_from_rules(verdict, results),
        },
        "versions": dict(versions),
        "device": dict(session.device) if session else None,
        "peer": dict(session.peer) if session and session.peer else None,
        "protocol": session.protocol if session else 0,
        "seed": session.seed if session else None,
        "volatile": list(session.volatile) if session else [],
        "fatal": list(session.fatal) if session else [],
        "switched_off": {
            check: {"since": test, "klog": said}
            for check, (test, said) in results.switched_off().items()
        },
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "counts": {
            "rules": _count_rules(results),
            "tests": {str(outcome): results.count(outcome) for outcome in TestOutcome},
        },
        "rules": {rule.requirement.id: _rule(rule) for rule in results.rules()},
        "tests": [_test(record) for record in results.tests.values()],
    }
    return json.dumps(document, indent=1, default=str) + "\n"


def _count_rules(results: Results) -> dict[str, int]:
    verdicts = [rule.verdict for rule in results.rules()]
    return {str(verdict): verdicts.count(verdict) for verdict in RuleVerdict}


def _rule(rule: RuleResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "level": rule.requirement.level,
        "verdict": str(rule.verdict),
        "tests": [record.id for record in rule.tests],
    }
    if rule.requirement.outcomes:
        row["observed"] = list(rule.observed)
    if rule.verdict is RuleVerdict.SKIPPED:
        row["skipped_because"] = list(rule.skip_reasons)
    if rule.verdict is RuleVerdict.NOT_APPLICABLE:
        row["not_applicable_because"] = list(rule.skip_reasons)
    return row


def _test(record: TestRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": record.id,
        "rules": list(record.rules),
        "outcome": str(record.outcome),
    }
    if (result := record.result) is None:
        return row
    row["duration"] = round(result.duration, 6)
    if result.observed:
        row["observed"] = dict(result.observed)
    if result.skip:
        row["skip"] = result.skip
    if result.failure is not None:
        row["failure"] = vars(result.failure).copy()
        row["calls"] = list(result.calls)
    if result.klog:
        row["klog"] = list(result.klog)
    return row
