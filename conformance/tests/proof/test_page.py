# SPDX-License-Identifier: GPL-2.0-only
"""The page of a proof: everybody can read it, and it shows what the text shows."""

from dataclasses import replace
from pathlib import Path

from conformance.proof.judging.judge import Verdict, judge, unjudged
from conformance.proof.mutants.mutant import Mutant
from conformance.proof.operators import page as operators_page
from conformance.proof.operators.fate import Fate, conclusion
from conformance.proof.operators.operators import Known, OperatorMutant
from conformance.proof.output.page import Proved, Sheet, render
from conformance.tests.proof.test_verdict import GOOD, mutant, outcome
from conformance.tests.report.html import Element, mistakes, read

EVIL = "</td><script>alert(1)</script>\x1b[31m"
KILLED = judge(mutant("state.reset"), outcome(r_1="failed", f_1="failed"), GOOD)
SURVIVED = judge(mutant("state.reset", "save.fresh"), outcome(r_1="failed", f_1="passed"), GOOD)


def shown(folder: Path, *parts: Proved, planned: int = 2) -> Element:
    (folder / "report.html").write_text(render(parts, planned))
    return read(folder / "report.html")


def test_the_page_has_each_mutant_and_the_kill_matrix(tmp_path: Path) -> None:
    page = shown(tmp_path, Proved("igb-vf v1", [KILLED, SURVIVED], {}))
    assert mistakes(page) == []
    mutants, state, save = page.all("table")
    killed, survived = mutants.all("tr")[1:]
    assert killed.attributes["data-verdict"] == "killed"
    assert "state.reset: r_1" in killed.words()
    assert survived.attributes["data-group"] == "state|save"
    assert "save.fresh: no test failed" in survived.words()
    assert [one.words().split() for one in state.all("td")] == [["K", "killed"]] * 2
    assert [one.words().split() for one in save.all("td")] == [["S", "survived"]]
    assert "verdict good" not in (tmp_path / "report.html").read_text()


def test_the_page_has_tests_that_were_not_run(tmp_path: Path) -> None:
    blind = judge(mutant("save.fresh"), outcome(r_1="passed"), outcome(r_1="passed"))
    page = shown(tmp_path, Proved("mtty", [blind], {}, {"t": "first-set"}, foreign=True))
    assert mistakes(page) == []
    mutants, save = page.all("table")
    assert mutants.all("tr")[1].attributes["data-verdict"] == "not-judged"
    assert [one.words().split() for one in save.all("td")] == [["?", "not", "judged"]]
    assert "t first-set" in page.words()
    assert "Tests that were not run" not in shown(tmp_path, Proved("a", [KILLED], {})).words()


def test_only_a_whole_proof_is_good(tmp_path: Path) -> None:
    for part, planned, good in (
        (Proved("a", [KILLED], {}), 1, True),
        (Proved("a", [KILLED], {}), 2, False),
        (Proved("a", [KILLED, unjudged(mutant("state.reset"), Verdict.NOT_RUN)], {}), 2, False),
        (Proved("a", [KILLED], {"t": "why"}), 1, False),
        (Proved("a", [KILLED], {"t": "why"}, foreign=True), 1, True),
    ):
        page = shown(tmp_path, part, planned=planned)
        assert mistakes(page) == []
        assert ("verdict good" in (tmp_path / "report.html").read_text()) is good


def test_the_page_grows_and_says_what_is_missing(tmp_path: Path) -> None:
    sheet = Sheet(tmp_path, 3)
    sheet.add(Proved("igb-vf v1", [KILLED], {}))
    assert "2 more were to be judged" in read(sheet.path).words()
    sheet.add(Proved("mtty", [KILLED, KILLED], {}, foreign=True))
    assert "were to be judged" not in read(sheet.path).words()
    assert "3 mutants of igb-vf v1, mtty" in read(sheet.path).words()


def test_nothing_of_a_driver_is_taken_for_the_page(tmp_path: Path) -> None:
    evil = Mutant(EVIL, ("state.reset",), EVIL, EVIL, False, ())
    judged = replace(KILLED, mutant=evil, detail=EVIL, killers={"state.reset": (EVIL,)})
    page = shown(tmp_path, Proved(EVIL, [judged], {EVIL: EVIL}))
    assert mistakes(page) == []
    assert len(page.all("script")) == 1
    assert "\x1b" not in (tmp_path / "report.html").read_text()


def test_operator_mutants_have_a_page_and_survivors_come_first(tmp_path: Path) -> None:
    changed = OperatorMutant(EVIL, "main.c", 7, EVIL, "a < b", "", "")
    fates = [
        Fate(changed, "t", "trixie"),
        Fate(changed, "", "", Known(True, EVIL)),
        Fate(changed, "", "", Known(False, "same")),
        Fate(changed, "", ""),
    ]
    path = operators_page.write(tmp_path, "igb-vf v1", fates, conclusion(fates, "trixie"))
    page = read(path)
    assert mistakes(page) == []
    assert len(page.all("script")) == 1
    rows = page.all("table")[0].all("tr")[1:]
    words = [row.attributes["data-fate"] for row in rows]
    assert words == ["survived", "killed", "equivalent", "beyond the lab"]
    assert "nothing noticed it" in rows[0].words()
    assert "(nothing)" in rows[0].words()
    assert "1 of 4 operator mutants killed" in page.words()
    assert "verdict good" not in path.read_text()
