# SPDX-License-Identifier: GPL-2.0-only
"""A driver of the kernel against what is documented of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from conformance import requirements
from conformance.lab.check.prepare import LabRequest, Options, look_up
from conformance.lab.strangers import definition as strangers
from conformance.matrix import report as matrix_report
from conformance.matrix import run as matrix_run
from conformance.matrix.cells import Cell, Column, State

FINDINGS = Path(__file__).resolve().parents[3] / "docs" / "findings.md"
KERNEL = "6.12.118+deb13-amd64"
RULES = {"precopy.enomsg": "failed", "data.new": "passed", "dma-log.whole": "not-applicable"}


def request() -> LabRequest:
    """Return that of qat, of which one finding on 6.12 is documented."""
    return look_up(Options(stranger="qat"))


def judged(
    folder: Path, rules: dict[str, str], *, whole: bool = True, code: int = 1, sound: bool = True
) -> Cell:
    """Return a cell of qat with these verdicts."""
    words = {0: "conforms", 1: "requirement-failed"}
    document: dict[str, Any] = {
        "verdict": {"conclusion": words[code], "reason": "", "follows_from_rules": sound},
        "versions": {"kernel": KERNEL},
        "rules": {name: {"verdict": verdict} for name, verdict in rules.items()},
    }
    (folder / "results.json").write_text(json.dumps(document))
    (folder / "check.log").write_text("")
    cell = Cell(
        "qat", Column("trixie", "trixie"), Options(stranger="qat"), request(), folder=folder
    )
    return matrix_run.judged(cell, code, whole=whole)


def died(folder: Path, running: str, untested: str = "") -> Cell:
    """Return a cell of mtty whose kernel died while a test of a rule ran."""
    found = strangers.load("mtty").findings(KERNEL)
    rules: dict[str, Any] = {
        rule: {"verdict": "not-tested" if one.dies else "failed", "tests": ["t"]}
        for rule, one in found.items()
    }
    rules["data.new"] = {"verdict": "passed", "tests": ["t"]}
    if untested:
        rules[untested] = {"verdict": "not-tested", "tests": ["t"]}
    document: dict[str, Any] = {
        "verdict": {"conclusion": "kernel-died", "reason": "oops", "follows_from_rules": False},
        "versions": {"kernel": KERNEL},
        "rules": rules,
        "tests": [{"id": "t", "rules": [running], "outcome": "running"}],
    }
    (folder / "results.json").write_text(json.dumps(document))
    (folder / "check.log").write_text("")
    asked = look_up(Options(stranger="mtty"))
    cell = Cell("mtty", Column("trixie", "trixie"), Options(), asked, folder=folder)
    return matrix_run.judged(cell, 3)


def test_a_kernel_may_die_of_what_is_known_to_kill_it(tmp_path: Path) -> None:
    cell = died(tmp_path, "error.clean")
    assert (cell.state, cell.exit_code) == (State.AS_DOCUMENTED, 0)
    assert suite_of(tmp_path, cell).failures == 0


def test_a_kernel_that_dies_of_anything_else_is_no_finding(tmp_path: Path) -> None:
    cell = died(tmp_path, "data.new")
    assert (cell.state, cell.exit_code) == (State.KERNEL_DIED, 3)


def test_a_death_hides_no_rule(tmp_path: Path) -> None:
    cell = died(tmp_path, "error.clean", "data.eof")
    assert (cell.state, cell.exit_code) == (State.DOES_NOT_CONFORM, 1)
    assert "data.eof was not judged before the kernel died" in cell.reason


def suite_of(folder: Path, cell: Cell) -> JUnitXml:
    matrix_report.write(folder, [cell])
    return JUnitXml.fromfile(str(folder / matrix_report.JUNIT))


def test_exactly_what_is_documented_is_a_success(tmp_path: Path) -> None:
    cell = judged(tmp_path, RULES)
    assert (cell.state, cell.exit_code) == (State.AS_DOCUMENTED, 0)
    xml = suite_of(tmp_path, cell)
    assert (xml.tests, xml.failures, xml.skipped) == (3, 0, 1)


@pytest.mark.parametrize(
    ("rules", "code", "said"),
    [
        ({"data.new": "failed"}, 1, "data.new failed"),
        ({"precopy.enomsg": "passed"}, 0, "precopy.enomsg is passed, not failed"),
        ({"precopy.enomsg": "not-tested"}, 0, "precopy.enomsg is not-tested, not failed"),
    ],
)
def test_any_other_verdict_is_a_failure(
    tmp_path: Path, rules: dict[str, str], code: int, said: str
) -> None:
    cell = judged(tmp_path, {**RULES, **rules}, code=code)
    assert (cell.state, cell.exit_code) == (State.DOES_NOT_CONFORM, 1)
    assert cell.reason == f"docs/findings.md says otherwise: {said}"
    assert suite_of(tmp_path, cell).failures == (0 if "not-tested" in said else 1)


def test_a_selection_is_compared_in_what_it_judged(tmp_path: Path) -> None:
    rules = {**RULES, "precopy.enomsg": "not-tested"}
    assert judged(tmp_path, rules, whole=False, code=0).state is State.AS_DOCUMENTED


def test_a_run_that_did_not_end_well_is_never_documented(tmp_path: Path) -> None:
    cell = judged(tmp_path, RULES, sound=False)
    assert (cell.state, cell.exit_code) == (State.DOES_NOT_CONFORM, 1)


def rows() -> set[tuple[str, str, tuple[str, ...]]]:
    """Return stranger, rule and kernels of each row of the tables of findings."""
    found, stranger = set(), ""
    for line in FINDINGS.read_text().splitlines():
        if heading := re.match(r"## (\w+)$", line):
            stranger = heading[1]
        elif row := re.match(r"\| `([a-z0-9.-]+)`(?: \([A-Z]+\))? \| ([\d., ]+) \| \S", line):
            found.add((stranger, row[1], tuple(row[2].split(", "))))
    return found


def test_the_page_and_the_definitions_list_the_same_findings() -> None:
    defined = {
        (name, one.rule, one.kernels)
        for name in strangers.names()
        for one in strangers.load(name).finding
    }
    assert defined == rows()
    assert {rule for _, rule, _ in defined} <= set(requirements.load())


def test_a_rule_is_found_once_for_each_stranger() -> None:
    for name in strangers.names():
        rules = [one.rule for one in strangers.load(name).finding]
        assert len(rules) == len(set(rules))
