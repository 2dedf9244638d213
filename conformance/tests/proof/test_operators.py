# SPDX-License-Identifier: GPL-2.0-only
"""Unplanned mutants: what the tool changed, the sample, and what counts as killed."""

import shutil
from pathlib import Path

import pytest

from conformance.errors import LabError
from conformance.events.kinds import TestOutcome
from conformance.proof.judging.trials import End, Outcome, TestResult
from conformance.proof.mutants import mutant as mutants
from conformance.proof.operators import fate as fate_of
from conformance.proof.operators import operators
from conformance.proof.operators import run as operators_run
from conformance.proof.operators.fate import Fate
from conformance.proof.operators.operators import Known, OperatorMutant
from kpatch.device import load as device
from kpatch.render import render
from kpatch.tests.render.pinned import LINUX_6_12

OLD = ["int f(void)", "{", "\treturn 1;", "}"]


@pytest.mark.parametrize(
    ("new", "change"),
    [
        (OLD, None),
        ([*OLD[:2], "\treturn  0;", "}"], (3, "return 1;", "return 0;")),
        ([*OLD[:2], "\tbreak;", *OLD[2:]], (3, "return 1;", "break; return 1;")),
        ([*OLD[:2], "}"], (3, "return 1;", "")),
        (["a", "b", "c", "d"], None),  # the operators do not change so much
    ],
)
def test_change(new: list[str], change: tuple[int, str, str] | None) -> None:
    assert operators._change(OLD, new) == change


def test_place() -> None:
    lines = ["#include <a.h>", "static const struct a table[] = {", "\t1,", "};", "", *OLD]
    lines += ["", "const struct ops ops = {", "\t.a = 1,", "};", "static int", "out:", "\tx;"]
    places = {line: operators._place(lines, number) for number, line in enumerate(lines, 1)}
    assert places["#include <a.h>"] == ""
    assert places["\t1,"] == "table"
    assert places["\treturn 1;"] == "f"
    assert places["\t.a = 1,"] == places["\tx;"] == "ops"


@pytest.mark.skipif(not shutil.which(operators._program()), reason="no universalmutator")
def test_generate(tmp_path: Path) -> None:
    source = "\n".join(OLD) + "\n"
    sources = dict.fromkeys(operators._FILES, source)
    found = operators.generate(sources, tmp_path / "work")
    assert {one.file for one in found} == set(sources)
    assert ("return 1;", "return 0;") in {(one.before, one.after) for one in found}
    assert len({one.name for one in found}) == len(found)
    assert operators.shuffled(found, 1) == operators.shuffled(found, 1)
    assert operators.shuffled(found, 1) != operators.shuffled(found, 2)


def outcome(end: End = End.DONE, **tests: str) -> Outcome:
    results = {
        name: TestResult(TestOutcome(said), ("state.reset",)) for name, said in tests.items()
    }
    return Outcome("m", results, end, "a detail")


def test_killed() -> None:
    good = outcome(a="passed", b="failed")
    assert operators_run.killed(outcome(a="failed"), good) == "a"
    assert operators_run.killed(outcome(b="failed"), good) == ""
    assert operators_run.killed(outcome(a="skipped"), good) == ""
    assert operators_run.killed(outcome(End.DIED, a="passed"), good) == "died: a detail"
    assert operators_run.killed(outcome(End.GAVE_UP), good) == "gave up: a detail"


def fate(name: str, by: str = "", image: str = "", known: Known | None = None) -> Fate:
    return Fate(OperatorMutant(name, "main.c", 1, "f", "x", "y", ""), by, image, known)


def test_the_rate_is_reported_with_and_without_equivalent_mutants() -> None:
    fates = [fate("a", "t", "trixie"), fate("b", known=Known(False, "because")), fate("c")]
    fates += [fate("d", "t", "debug"), fate("e", known=Known(True, "because"))]
    assert fate_of.conclusion(fates, "trixie") == [
        "2 of 5 operator mutants killed, 40.0 %; 1 are equivalent, 50.0 % of the others are "
        "killed; 1 of those are beyond the lab, without them it is 66.7 %",
        "1 of them only in the image debug; in trixie 1 are killed, 25.0 % of those not equivalent",
        "  only in the image debug, by t: d: main.c:1 (f): x => y",
        "  survived: c: main.c:1 (f): x => y",
    ]


def test_known_equivalents(tmp_path: Path) -> None:
    known = operators.load_equivalent()
    assert {one.beyond for one in known.values()} == {True, False}
    sources = render.texts(device.load(mutants.DEVICE), LINUX_6_12)
    for file, place, before, _ in known:  # what has changed in the driver is to be looked at again
        lines = [" ".join(line.split()) for line in sources[file].splitlines()]
        where = [at for at, line in enumerate(lines, 1) if line == before]
        assert place in {operators._place(sources[file].splitlines(), at) for at in where}
    with pytest.raises(LabError):
        operators.load_equivalent(tmp_path)
