# SPDX-License-Identifier: GPL-2.0-only
"""The suite's own hygiene: every rule has a test, every test a rule and a docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import requirements
from conformance.running import selection
from conformance.running.selection import Collected

ROOT = Path(__file__).parents[3]
SUITE = ROOT / "conformance" / "suite"
CATALOGUE = requirements.load()
LONGEST_BODY = 15


@pytest.fixture(scope="module")
def collected() -> list[Collected]:
    return list(selection.collect())


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(SUITE.rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield f"{path.name}::{node.name}", node


@pytest.fixture(scope="module")
def tests() -> dict[str, ast.FunctionDef]:
    return dict(functions())


def test_every_rule_has_a_test(collected: list[Collected]) -> None:
    tested = {rule for test in collected for rule in test.rules}
    assert [rule for rule in CATALOGUE if rule not in tested] == []


def test_every_test_names_known_rules(collected: list[Collected]) -> None:
    assert [test for test in collected if not test.rules] == []
    named = {rule for test in collected for rule in test.rules}
    assert named - CATALOGUE.keys() == set()


def test_names_are_stable_and_distinct(collected: list[Collected]) -> None:
    names = [test.name for test in collected]
    assert len(names) == len(set(names))
    assert [name for name in names if " at 0x" in name or "<" in name] == []


def test_docstrings_say_stimulus_and_outcome(tests: dict[str, ast.FunctionDef]) -> None:
    parts = {name: (ast.get_docstring(node) or "").partition(": ") for name, node in tests.items()}
    wrong = [
        name for name, (stimulus, _, end) in parts.items() if not (stimulus and end[-1:] == ".")
    ]
    assert wrong == [], "every test has a docstring: STIMULUS: OUTCOME."


def lines_of(node: ast.FunctionDef) -> int:
    body = node.body[1:]  # without the docstring
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_bodies_are_short(tests: dict[str, ast.FunctionDef]) -> None:
    lengths = {name: lines_of(node) for name, node in tests.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_BODY} == {}
    assert min(lengths.values()) > 0


def test_the_suite_knows_no_driver() -> None:
    words = ("igb", "i40e", "vfio_pci.ko", "kpatch", "xlnx", "mlx5")
    found = [
        f"{path.name}: {word}"
        for path in SUITE.rglob("*.py")
        for word in words
        if word in path.read_text().lower()
    ]
    assert found == []


def test_observed_outcomes_belong_to_free_rules(collected: list[Collected]) -> None:
    free = {name for name, requirement in CATALOGUE.items() if requirement.level == "FREE"}
    named = {rule for test in collected for rule in test.rules}
    assert free <= named
