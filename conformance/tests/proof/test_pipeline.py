# SPDX-License-Identifier: GPL-2.0-only
"""The pipeline of all mutants, with a lab that is not there and guests that only answer."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.errors import LabError
from conformance.events.kinds import TestOutcome
from conformance.lab.guest.payload import Trial
from conformance.proof import planned
from conformance.proof.judging import guests, pipeline
from conformance.proof.judging.build import Built
from conformance.proof.judging.pipeline import BASELINE, Proof, Wanted
from conformance.proof.judging.trials import Bench, End, Outcome, TestResult
from conformance.proof.mutants.mutant import Edit, Mutant
from conformance.running import selection

RULE = "state.reset"
SOURCES = {"main.c": "return 0;\n"}
WANTED = Wanted("trixie", jobs=1, quiet=1.0)


class Lab:
    """Stands for what is prepared, built and run; its guests answer as they are printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trials: list[Trial] = []
        self.order: Callable[[list[Trial]], list[Trial]] = list
        self.failing: dict[str, str] = {}
        self.ends: dict[str, End] = {}
        self.said: list[str] = []
        anything: Any = SimpleNamespace(kernel=None, image=SimpleNamespace(sandbox=None))
        ready = SimpleNamespace(lab=anything, module=object(), companions=())

        def look_up(options: Any) -> Any:
            return SimpleNamespace(options=options, hints=[], mediated=("", ""))

        monkeypatch.setattr(pipeline, "look_up", look_up)
        monkeypatch.setattr(pipeline, "prepare", lambda *_: ready)
        monkeypatch.setattr(pipeline, "_sources", lambda *_: SOURCES)
        monkeypatch.setattr(pipeline, "Builder", lambda *_: self)
        monkeypatch.setattr(guests, "run", self.run)

    @property
    def tried(self) -> list[str]:
        return [trial.name for trial in self.trials]

    def build(
        self, edited: Mapping[str, Mapping[str, str]], done: Callable[[Built], None]
    ) -> dict[str, Built]:
        found = {}
        for name, sources in edited.items():
            broken = "#error" in sources["main.c"]
            found[name] = Built(name, None if broken else Path(f"/{name}.ko"), "broken" * broken)
            done(found[name])
        return found

    def run(
        self, _bench: Bench, left: Sequence[Trial], done: Callable[[Outcome], None], _parallel: int
    ) -> None:
        for trial in self.order(list(left)):
            self.trials.append(trial)
            said = TestOutcome(self.failing.get(trial.name, "passed"))
            results = {"t": TestResult(said, (RULE,), "why" if said != "passed" else "")}
            end = self.ends.get(trial.name, End.DONE)
            done(Outcome(trial.name, results, end, "", trial.module.name, trial.tests, 1.0))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(selection, "tests_by_rule", lambda: {RULE: ["t"]})
    return Lab(monkeypatch)


def mutant(name: str, replace: str) -> Mutant:
    return Mutant(name, (RULE,), "It is wrong.", "", False, (Edit("main.c", "return 0;", replace),))


MUTANTS = {name: mutant(name, f"return {number};") for number, name in enumerate("abc", 1)}


def test_a_mutant_is_killed_by_what_the_driver_itself_passes(lab: Lab, tmp_path: Path) -> None:
    lab.failing = {"a": "failed", "b": "error"}
    assert not planned.run(MUTANTS, WANTED, tmp_path, lab.said.append)
    verdicts = json.loads((tmp_path / "matrix.json").read_text())
    assert [one["verdict"] for one in verdicts["mutants"]] == ["killed", "killed", "survived"]
    assert "[1/4] the driver itself: 0 tests fail" in lab.said
    assert f"[2/4] a: killed ({RULE} by t)" in lab.said
    assert lab.said[-1].startswith("time: ")


def test_outcomes_wait_for_that_of_the_driver_itself(lab: Lab, tmp_path: Path) -> None:
    lab.failing = dict.fromkeys("abc", "failed")
    lab.order = lambda trials: trials[::-1]
    assert planned.run(MUTANTS, WANTED, tmp_path, lab.said.append)
    shown = [line for line in lab.said if line.startswith("[")]
    assert [line.split()[1] for line in shown] == ["the", "c:", "b:", "a:"]
    assert [line.split()[0] for line in shown] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]


def test_what_is_in_the_journal_is_not_tried_again(lab: Lab, tmp_path: Path) -> None:
    planned.run(MUTANTS, WANTED, tmp_path, lab.said.append)
    lab.trials.clear()
    planned.run({**MUTANTS, "d": mutant("d", "return 4;")}, WANTED, tmp_path, lab.said.append)
    assert lab.tried == ["d"]


def test_a_driver_that_is_not_tried_out_ends_the_run(lab: Lab, tmp_path: Path) -> None:
    lab.ends = {BASELINE: End.HUNG}
    with pytest.raises(LabError, match="did not complete"):
        planned.run(MUTANTS, WANTED, tmp_path, lab.said.append)
    assert (tmp_path / "matrix.json").exists()


def test_a_mutant_that_does_not_build_is_broken(lab: Lab, tmp_path: Path) -> None:
    lab.failing = {"a": "failed"}
    mutants = {"a": MUTANTS["a"], "x": mutant("x", "#error"), "y": mutant("y", "return 0;;")}
    assert not planned.run({**mutants}, WANTED, tmp_path, lab.said.append)
    assert lab.tried == [BASELINE, "a", "y"]
    assert any(line.startswith("x: BROKEN") for line in lab.said)


def test_the_driver_itself_must_build(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_sources", lambda *_: {"main.c": "#error"})
    with pytest.raises(LabError, match="driver itself does not build"):
        planned.run({}, WANTED, tmp_path, lab.said.append)


SOUND = replace(mutant("s", "return 9;"), sound=(Edit("main.c", "return 0;", "return 0;;"),))
OWN = "s, without its defect"


def test_a_mutant_of_a_driver_of_its_own_is_compared_with_that(lab: Lab, tmp_path: Path) -> None:
    for failing, verdict in (
        ({BASELINE: "failed", "s": "failed"}, "killed"),
        ({OWN: "failed", "s": "failed"}, "not judged"),
        ({}, "survived"),
    ):
        for step in (1, -1):
            folder = tmp_path / f"{verdict}{step}"
            folder.mkdir()
            lab.failing, lab.order = failing, operator.itemgetter(slice(None, None, step))
            planned.run({"s": SOUND}, WANTED, folder, lab.said.append)
            (judged,) = json.loads((folder / "matrix.json").read_text())["mutants"]
            assert judged["verdict"] == verdict
            assert sorted(lab.tried[-3:]) == sorted([BASELINE, OWN, "s"])


def test_a_driver_of_its_own_that_does_not_build_breaks_the_mutant(
    lab: Lab, tmp_path: Path
) -> None:
    bad = replace(SOUND, sound=(Edit("main.c", "return 0;", "return 0; #error"),))
    assert not planned.run({"s": bad}, WANTED, tmp_path, lab.said.append)
    assert json.loads((tmp_path / "matrix.json").read_text())["summary"] == {"broken": 1}


def test_walks_do_not_judge(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = ("v1/walks/test_walk.py::w", "v2/walks/test_walk2.py::w", "v2/test_a.py::t")
    tests = {RULE: [f"conformance/suite/{name}" for name in suite]}
    monkeypatch.setattr(selection, "tests_by_rule", lambda: tests)
    planned.run(MUTANTS, WANTED, tmp_path, lab.said.append)
    assert {trial.tests for trial in lab.trials} == {tuple(tests[RULE][2:])}


def test_the_suite_has_walks_of_each_version_in_the_folder_that_is_left_out() -> None:
    files = {name.partition("::")[0] for name in selection.rules_by_test() if "walk" in name}
    assert len(files) == 2
    assert [name for name in files if planned.WALKS not in name] == []


def test_what_is_fatal_for_a_stranger_is_not_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fatal,) = (name for name in selection.about(["first-set"]) if name.endswith("[resuming]"))
    monkeypatch.setattr(selection, "tests_by_rule", lambda: {RULE: ["t", fatal]})
    lab.failing = dict.fromkeys("abc", "failed")
    mtty = Wanted("trixie", jobs=1, quiet=1.0, stranger="mtty")
    assert planned.run(MUTANTS, mtty, tmp_path, lab.said.append)
    assert {trial.tests for trial in lab.trials} == {("t",)}
    assert fatal in json.loads((tmp_path / "matrix.json").read_text())["fatal-tests"]
    assert any("are not run, mtty as it is kills the kernel" in line for line in lab.said)


def test_a_device_has_no_fatal_tests(lab: Lab, tmp_path: Path) -> None:
    planned.run(MUTANTS, WANTED, tmp_path, lab.said.append)
    assert json.loads((tmp_path / "matrix.json").read_text())["fatal-tests"] == {}


def test_tests_that_the_driver_itself_fails_are_unfit(lab: Lab, tmp_path: Path) -> None:
    proof = Proof(WANTED, tmp_path, lab.said.append)
    lab.failing = {BASELINE: "failed"}
    proof.try_all([Trial(BASELINE, Path("/x.ko"), ("t",))], lambda *_: "")
    assert proof.unfit == {"t": "why"}
    assert "  t: why" in lab.said
    assert "all trials together 1 s, 1 in parallel" in proof.time()
