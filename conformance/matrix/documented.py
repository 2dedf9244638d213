# SPDX-License-Identifier: GPL-2.0-only
"""Compares what a driver of the kernel failed with the rules that it is known to break.

docs/findings.md says of each such driver which rules it breaks on which kernel. A run that fails
exactly those is as good as one that conforms; any other is a change of the driver, of the kernel or
of the suite that somebody must look at. Of a rule of which the kernel dies the test runs last and
alone: all others have been judged by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from conformance.events.kinds import TestOutcome
from conformance.matrix.cells import Cell, State
from conformance.report.results import RuleVerdict
from conformance.report.verdict import Conclusion

_JUDGED = (RuleVerdict.PASSED, RuleVerdict.FAILED)


def compared(cell: Cell, *, whole: bool = True) -> Cell:
    """Return a cell whose driver has documented findings, compared with them.

    Args:
        cell: A cell that has run, with its results.
        whole: Whether the whole suite ran; else a rule that was not judged is no difference.
    """
    if not applies(cell):
        return cell
    differences = list(_differences(cell, whole))
    if differences:
        reason = f"docs/findings.md says otherwise: {'; '.join(differences)}"
        return replace(cell, state=State.DOES_NOT_CONFORM, reason=reason, exit_code=1)
    return replace(cell, state=State.AS_DOCUMENTED, exit_code=0)


def deviates(cell: Cell, rule: str) -> str:
    """Say how what came of a rule differs from what is documented; empty if it does not."""
    verdict = verdicts(cell)[rule]
    if rule in cell.documented:
        return "" if verdict == RuleVerdict.FAILED else f"{rule} is {verdict}, not failed"
    return f"{rule} failed" if verdict == RuleVerdict.FAILED else ""


def verdicts(cell: Cell) -> dict[str, str]:
    """Return the verdict of each rule; one of which the kernel died has failed."""
    rules: Mapping[str, Any] = cell.results.get("rules", {})
    found = {name: rule["verdict"] for name, rule in rules.items()}
    if _died(cell):
        found |= dict.fromkeys(_killers(cell), RuleVerdict.FAILED)
    return found


def applies(cell: Cell) -> bool:
    """Whether findings are documented, and nothing but the rules made the verdict of the run.

    A lost guest is never documented unless it died of a rule of which that is known; a module
    that cannot be unloaded is never.
    """
    if not cell.documented:
        return False
    verdict = cell.results.get("verdict", {})
    if _died(cell):
        killers = _killers(cell)
        return bool(killers) and all(cell.documented.get(rule) for rule in killers)
    words = {Conclusion.CONFORMS.word, Conclusion.REQUIREMENT_FAILED.word}
    return verdict.get("follows_from_rules", False) and verdict.get("conclusion") in words


def _died(cell: Cell) -> bool:
    conclusion = cell.results.get("verdict", {}).get("conclusion")
    return bool(conclusion == Conclusion.KERNEL_DIED.word)


def _killers(cell: Cell) -> set[str]:
    """Return the rules of the tests that ran when the kernel died."""
    tests = cell.results.get("tests", [])
    return {rule for one in tests if one["outcome"] == TestOutcome.RUNNING for rule in one["rules"]}


def _differences(cell: Cell, whole: bool) -> Iterator[str]:
    rules: Mapping[str, Any] = cell.results.get("rules", {})
    for rule, verdict in verdicts(cell).items():
        if (whole or verdict in _JUDGED) and (said := deviates(cell, rule)):
            yield said
        elif _died(cell) and verdict == RuleVerdict.NOT_TESTED and rules[rule]["tests"]:
            yield f"{rule} was not judged before the kernel died"
