# SPDX-License-Identifier: GPL-2.0-only
"""Unplanned mutants: what the tool changed, the sample, and what counts as killed."""

import shutil
from pathlib import Path

import pytest

from conformance.errors import LabError
from conformance.lab import generic, generic_run, trials
from conformance.lab.generic import Generic
from conformance.lab.trials import Outcome, TestResult

OLD = ["int f(void)", "{", "\treturn 1;", "}"]


@pytest.mark.parametrize(
    ("new", "change"),
    [
        (OLD, None),
        ([*OLD[:2], "\treturn  0;", "}"], (3, "return 1;", "return 0;")),
        ([*OLD[:2], "\tbreak;", *OLD[2:]], (3, "", "break;")),
        ([*OLD[:2], "}"], (3, "return 1;", "")),
        (["a", "b", "c", "d"], None),  # the operators do not change so much
    ],
)
def test_change(new: list[str], change: tuple[int, str, str] | None) -> None:
    assert generic._change(OLD, new) == change


@pytest.mark.skipif(not shutil.which("mutate"), reason="universalmutator is not installed")
def test_generate(tmp_path: Path) -> None:
    source = "\n".join(OLD) + "\n"
    sources = {"main.c": source, "migration.c": source, "mappings.c": source}
    found = generic.generate(sources, tmp_path / "work")
    assert {one.file for one in found} == set(sources)
    assert ("return 1;", "return 0;") in {(one.before, one.after) for one in found}
    assert len({one.name for one in found}) == len(found)
    assert generic.shuffled(found, 1) == generic.shuffled(found, 1)
    assert generic.shuffled(found, 1) != generic.shuffled(found, 2)


def outcome(end: str = trials.DONE, **tests: str) -> Outcome:
    results = {name: TestResult(said, ("state.reset",)) for name, said in tests.items()}
    return Outcome("m", results, end, "a detail")


def test_killed() -> None:
    good = outcome(a="passed", b="failed")
    assert generic_run.killed(outcome(a="failed"), good) == "a"
    assert generic_run.killed(outcome(b="failed"), good) == ""
    assert generic_run.killed(outcome(a="skipped"), good) == ""
    assert generic_run.killed(outcome(trials.DIED, a="passed"), good) == "died: a detail"
    assert generic_run.killed(outcome(trials.GAVE_UP), good) == "gave up: a detail"


def test_the_rate_leaves_equivalent_mutants_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = {name: Generic(name, "main.c", 1, "x", name, "") for name in ("a", "b", "c")}
    known = {name: outcome(t="passed") for name in ("driver-itself", *sample)}
    known["a"] = outcome(t="failed")
    monkeypatch.setattr(generic, "load_equivalent", lambda: {("main.c", "x", "b"): "because"})
    said: list[str] = []
    assert not generic_run._conclude(sample, known, tmp_path, said.append)
    assert said[0] == "1 of 2 unplanned mutants killed, 50 %; 1 are equivalent"
    assert said[1] == "  survived: c: main.c:1: x => c"


def test_known_equivalents(tmp_path: Path) -> None:
    assert isinstance(generic.load_equivalent(), dict)
    with pytest.raises(LabError):
        generic.load_equivalent(tmp_path)
