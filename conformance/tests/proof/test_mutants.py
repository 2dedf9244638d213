# SPDX-License-Identifier: GPL-2.0-only
"""Mutants: the data apply, each MUST rule is shown, and mistakes in the data are printed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from conformance import requirements
from conformance.errors import UsageError
from conformance.lab.strangers import build as strangers_build
from conformance.lab.strangers import definition as strangers
from conformance.proof.mutants import mutant as mutants
from conformance.proof.mutants import tracing
from conformance.proof.mutants.mutant import Edit, EditError, Mutant, MutantError
from conformance.running import selection
from kpatch.device import load as device
from kpatch.render import render
from kpatch.render.form import Form
from kpatch.tests.render.pinned import LINUX_6_12

RULES = requirements.load()
MUTANTS = mutants.load(RULES)

MUTANT = Mutant("m", ("state.reset",), "", "", False, (Edit("a.c", "one", "two"),))
ANYWHERE = Mutant("m", ("state.reset",), "", "", False, (Edit("", "one", "two"),))
ENTRY = """
[[mutant]]
id = "m"
rules = ["state.reset"]
defect = "d"
[[mutant.edit]]
file = "main.c"
find = "a"
replace = "b"
"""


OURS = mutants.by_device({name: one for name, one in MUTANTS.items() if not one.stranger})


def rendered(driver: str) -> dict[str, str]:
    one = next(iter(OURS[driver].values()))
    return render.texts(device.load(one.device), LINUX_6_12, form=Form(protocols=one.protocols))


def problem(one: Mutant, sources: dict[str, str]) -> str:
    """Return what is wrong with a mutant's edits, empty if they apply."""
    try:
        return "" if one.apply(sources) != sources else "changes nothing"
    except EditError as error:
        return str(error)


@pytest.mark.parametrize("driver", OURS)
def test_each_edit_applies_exactly_once(driver: str) -> None:
    sources = rendered(driver)
    found = {name: problem(one, sources) for name, one in OURS[driver].items()}
    assert {name: said for name, said in found.items() if said} == {}


@pytest.mark.slow  # takes the source of a kernel
@pytest.mark.parametrize("name", sorted(name for name, one in MUTANTS.items() if one.stranger))
def test_each_edit_of_a_stranger_applies_exactly_once(name: str) -> None:
    source = os.environ.get("VFIO_KIT_VFIO")
    if not source:
        pytest.skip("VFIO_KIT_VFIO does not name the VFIO drivers of a kernel's source")
    sources = strangers_build.texts(strangers.load(MUTANTS[name].stranger), Path(source))
    assert MUTANTS[name].apply(sources) != sources


def test_a_file_may_be_of_a_stranger(tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text('stranger = "mtty"' + ENTRY)
    found = mutants.load(RULES, tmp_path)
    assert found["m"].stranger == "mtty"
    assert mutants.by_device(found) == {"mtty": found}


def test_each_must_rule_has_a_test_and_a_mutant() -> None:
    tests = selection.tests_by_rule()
    assert tracing.gaps(tracing.trace(RULES, tests, MUTANTS, mutants.load_exempt(RULES))) == []


def test_there_are_many_over_every_file_of_the_driver() -> None:
    some = mutants.by_device(MUTANTS)[mutants.DEVICE]
    driver = rendered(mutants.DEVICE)
    files = {
        name
        for one in some.values()
        for name, text in one.apply(driver).items()
        if text != driver[name]
    }
    assert len(some) >= 60
    assert files >= {"main.c", "registers.c", "stream.c", "region.c", "mappings.c", "compat.h"}


def test_apply() -> None:
    assert MUTANT.apply({"a.c": "one"}) == {"a.c": "two"}
    assert ANYWHERE.apply({"a.c": "three", "b.c": "one"}) == {"a.c": "three", "b.c": "two"}


@pytest.mark.parametrize(
    ("sources", "said"),
    [({"a.c": "oneone"}, "2 times"), ({"a.c": ""}, "0 times"), ({}, "no such file")],
)
def test_an_edit_that_does_not_apply_once(sources: dict[str, str], said: str) -> None:
    with pytest.raises(EditError, match=said):
        MUTANT.apply(sources)


def test_what_is_no_defect_is_edited_first() -> None:
    first = replace(MUTANT, sound=(Edit("a.c", "zero", "one"),))
    assert first.without_defect({"a.c": "zero"}) == {"a.c": "one"}
    assert first.apply({"a.c": "zero"}) == {"a.c": "two"}
    with pytest.raises(EditError, match="Edit 1 of the mutant m applies not, there is no"):
        first.without_defect({"b.c": "zero"})


@pytest.mark.parametrize("sources", [{"a.c": "one", "b.c": "one"}, {"a.c": ""}])
def test_an_edit_of_whichever_file_applies_once_over_all(sources: dict[str, str]) -> None:
    with pytest.raises(EditError, match="must be in the sources exactly once"):
        ANYWHERE.apply(sources)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"m"', '"m"\nfoo = 1', "unknown key 'foo'"),
        ('defect = "d"', "", "'defect' is missing"),
        ('["state.reset"]', '["state.rest"]', "no rule 'state.rest'"),
        ('["state.reset"]', "[]", "breaks no rule"),
        ('replace = "b"', "", "an edit has find and replace"),
        ('replace = "b"', 'replace = "a"', "an edit changes nothing"),
        ('replace = "b"', 'replace = "b"' + ENTRY, "another one with this id"),
        ("[[mutant]]", "[[mutant", "Invalid|Expected"),
    ],
)
def test_mistakes_are_reported(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "some.toml").write_text(ENTRY.replace(old, new))
    with pytest.raises(MutantError, match=said):
        mutants.load(RULES, tmp_path)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('rules = ["a.b"]\nreason = "r"', "no rule 'a.b'"),
        ('rules = ["state.reset"]', "must have rules and a reason"),
    ],
)
def test_mistakes_of_exempt_rules_are_reported(tmp_path: Path, entry: str, said: str) -> None:
    (tmp_path / mutants.EXEMPT).write_text(f"[[exempt]]\n{entry}\n")
    with pytest.raises(MutantError, match=said):
        mutants.load_exempt(RULES, tmp_path)


def test_gaps() -> None:
    rules = {"state.reset": RULES["state.reset"], "save.outside": RULES["save.outside"]}
    found = tracing.gaps(tracing.trace(rules, {}, {}, {}))
    assert [line.split(";")[0] for line in found] == [
        "state.reset has no test",
        "state.reset has no mutant",
    ]
    tests = {"state.reset": ["t"]}
    assert tracing.gaps(tracing.trace(rules, tests, {"m": MUTANT}, {})) == []
    assert tracing.gaps(tracing.trace(rules, tests, {}, {"state.reset": "why"})) == []
    wrong = tracing.gaps(tracing.trace(rules, tests, {"m": MUTANT}, {"state.reset": "why"}))
    assert len(wrong) == 1


def test_some_are_for_an_image_of_their_own() -> None:
    every = mutants.for_image(MUTANTS, "trixie")
    debug = mutants.for_image(MUTANTS, "debug")
    assert {rule for one in debug.values() for rule in one.rules} == {
        *(rule for rule in RULES if rule.startswith("robust.")),
        "iommu.independent",
        "dma-log.report",
        "error.clean",
    }
    bookworm = mutants.for_image(MUTANTS, "bookworm")
    assert all(rule.startswith("dma-log.") for one in bookworm.values() for rule in one.rules)
    assert len(bookworm) > 1
    assert {**every, **debug, **bookworm} == MUTANTS
    assert mutants.for_image({"m": MUTANT}, "debug", named=True) == {"m": MUTANT}
    with pytest.raises(UsageError, match="--image debug"):
        mutants.for_image(debug, "trixie", named=True)


def test_strangers_are_of_one_kernel() -> None:
    assert any(one.stranger for one in mutants.for_image(MUTANTS, "trixie").values())
    assert not any(one.stranger for one in mutants.for_image(MUTANTS, "bookworm").values())


def test_select() -> None:
    assert mutants.select(MUTANTS, [], []) == MUTANTS
    assert list(mutants.select(MUTANTS, ["no-refusal"], [])) == ["no-refusal"]
    chosen = mutants.select(MUTANTS, [], ["state.arc"])
    assert "no-arc-1-2" in chosen
    assert "no-arc-0-1" not in chosen  # that is state.arc-vmm
    with pytest.raises(UsageError, match="no mutant 'nobody'"):
        mutants.select(MUTANTS, ["nobody"], [])
    with pytest.raises(UsageError, match="No mutant breaks"):
        mutants.select(MUTANTS, [], ["state.ark"])
