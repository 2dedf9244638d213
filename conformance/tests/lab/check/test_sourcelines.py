# SPDX-License-Identifier: GPL-2.0-only
"""Counts of lines and branches are added up and shown."""

from pathlib import Path
from typing import Any

import pytest

from conformance.lab.check.sourcelines import FileCoverage, merge, table


def line(number: int, count: int, *branches: int) -> dict[str, Any]:
    return {
        "line_number": number,
        "count": count,
        "branches": [
            {"count": branch, "fallthrough": False, "throw": False} for branch in branches
        ],
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "main.c"
    path.write_text("one\n\ttwo\nthree\n")
    return path


def test_counts_of_one_file_are_added_up(source: Path) -> None:
    said = [(source, [line(1, 1, 1, 0), line(2, 0)]), (source, [line(1, 2, 0, 4), line(3, 1)])]
    (one,) = merge(said)
    assert one.lines == {1: 3, 2: 0, 3: 1}
    assert one.branches == {1: [1, 4]}


def test_a_line_compiled_differently_keeps_all_branches(source: Path) -> None:
    (one,) = merge([(source, [line(1, 1, 1, 0)]), (source, [line(1, 1, 0)])])
    assert one.branch_counts == (1, 3)


def test_what_was_missed_is_reported(source: Path) -> None:
    one = FileCoverage(source, {1: 3, 2: 0}, {1: [2, 0]})
    assert one.as_json()["lines-missed"] == {"2": "two"}
    assert one.as_json()["branches-missed"] == {"1": [2, 0]}
    text = table([one])
    assert "     2  \ttwo" in text
    assert text[-1] == "1/2 = 50.0 % of lines, 1/2 = 50.0 % of branches"


def test_nothing_to_count_is_no_error() -> None:
    assert table([])[-1] == "none of lines, none of branches"
