# SPDX-License-Identifier: GPL-2.0-only
"""What a run leaves for the next one."""

from pathlib import Path

import pytest

from conformance.events.kinds import Result, TestOutcome
from conformance.report.results import TestRecord
from conformance.running.history import History


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path))
    return tmp_path


def record(name: str, outcome: TestOutcome, seconds: float = 0.5) -> TestRecord:
    if outcome in (TestOutcome.RUNNING, TestOutcome.NOT_RUN):
        return TestRecord(name, (), outcome)
    result = Result(name, (), outcome, seconds, {}, None, None, (), ())
    return TestRecord(name, (), outcome, result)


def test_history_is_kept_from_run_to_run() -> None:
    bad = [record("a", TestOutcome.FAILED), record("b", TestOutcome.PASSED, 2.0)]
    History.load("dev/ice", "v1", "trixie").update(bad, {"main.c": "x"}, died=False)
    known = History.load("dev/ice", "v1", "trixie")
    assert known.failed == {"a"}
    assert known.lengths == {"a": 0.5, "b": 2.0}
    assert known.sources == {"main.c": "x"}
    assert History.load("dev/ice", "v2", "trixie").lengths == {}


@pytest.mark.parametrize(
    ("outcome", "died", "failed"),
    [
        (TestOutcome.PASSED, False, False),
        (TestOutcome.SKIPPED, True, False),
        (TestOutcome.ERROR, False, True),
        (TestOutcome.NOT_RUN, True, True),  # nobody has asked it again
        (TestOutcome.RUNNING, False, True),
    ],
)
def test_failure_is_forgotten_when_the_test_passes(
    outcome: TestOutcome, died: bool, failed: bool
) -> None:
    history = History.load("x")
    history.update([record("a", TestOutcome.FAILED)], {}, died=False)
    history.update([record("a", outcome)], {}, died=died)
    assert (history.failed == {"a"}) is failed


@pytest.mark.parametrize("died", [True, False])
def test_test_that_ran_is_blamed_only_for_a_kernel_that_died(died: bool) -> None:
    history = History.load("x")
    history.update([record("a", TestOutcome.RUNNING)], {}, died=died)
    assert (history.failed == {"a"}) is died


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"lengths": {"a": "b"}}'])
def test_damaged_history_is_none(text: str) -> None:
    history = History.load("x")
    history.path.parent.mkdir(parents=True)
    history.path.write_text(text)
    assert History.load("x") == history


def test_expected_seconds_are_those_of_all_parameters() -> None:
    history = History(Path("x"), {"f.py::a[1]": 1.0, "f.py::a[2]": 2.0, "f.py::ab": 4.0})
    assert history.expected(["suite/v1/f.py::a"]) == 3.0
    assert history.expected(["suite/v1/f.py::a[2]"]) == 2.0
    assert history.expected(["suite/v1/f.py::new"]) is None
    assert history.expected([]) == 7.0
    assert History(Path("x")).expected([]) is None
