# SPDX-License-Identifier: GPL-2.0-only
"""Unplanned mutants: what the tool changed, the sample, and what counts as killed."""

import shutil
from collections.abc import Iterator
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
from kpatch.device.protocols import PROTOCOLS, Protocol
from kpatch.render import render
from kpatch.render.form import Form
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
    sources = {"main.c": source, "fsm.c": source, "main.h": source, "Kbuild": ""}
    found = operators.generate(sources, tmp_path / "work")
    assert {one.file for one in found} == {"main.c", "fsm.c"}
    assert ("return 1;", "return 0;") in {(one.before, one.after) for one in found}
    assert len({one.name for one in found}) == len(found)
    assert operators.shuffled(found, 1) == operators.shuffled(found, 1)
    assert operators.shuffled(found, 1) != operators.shuffled(found, 2)


def test_a_change_is_taken_over_into_the_driver_for_another_kernel() -> None:
    def made(*new: str) -> OperatorMutant:
        return OperatorMutant("m", "main.c", 3, "f", "", "", "\n".join(new) + "\n")

    original, other = "\n".join(OLD) + "\n", "\n".join(["int log;", "", *OLD, "x"]) + "\n"
    changed = made(*OLD[:2], "\treturn 0;", "}")
    assert operators.transplanted(changed, original, original) == changed.text
    expected = "int log;\n\nint f(void)\n{\n\treturn 0;\n}\nx\n"
    assert operators.transplanted(changed, original, other) == expected
    put_in = made(*OLD[:2], "\tbreak;", *OLD[2:])
    assert operators.transplanted(put_in, original, other) == other.replace(
        "\treturn", "\tbreak;\n\treturn"
    )
    assert (
        operators.transplanted(changed, original, other.replace("return 1", "return f()")) is None
    )
    assert operators.transplanted(changed, original, "") is None


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


def rendered(name: str, version: Protocol) -> dict[str, str]:
    return render.texts(device.load(name), LINUX_6_12, form=Form(protocols=(version,)))


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    lines = text.splitlines()
    for at, line in enumerate(lines, 1):
        yield operators._place(lines, at), " ".join(line.split())


def test_known_equivalents(tmp_path: Path) -> None:
    known = operators.load_equivalent()
    assert {one.beyond for one in known.values()} == {True, False}
    there = {
        (file, place, line)
        for name in (mutants.DEVICE, "emulated")
        for version in PROTOCOLS
        for file, text in rendered(name, version).items()
        for place, line in lines_of(text)
    }
    # What has changed in the drivers is to be looked at again.
    assert [key for key in known if key[:3] not in there] == []
    with pytest.raises(LabError):
        operators.load_equivalent(tmp_path)
