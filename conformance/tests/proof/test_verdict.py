# SPDX-License-Identifier: GPL-2.0-only
"""Verdicts on mutants: what counts as killed; trials: how each may end."""

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance.errors import AgentError, GuestHung, GuestPanicked
from conformance.events import kinds
from conformance.events.kinds import Agent, Event, Failure, Result, TestOutcome
from conformance.lab.guest.payload import Trial
from conformance.proof.judging import pipeline, trials
from conformance.proof.judging.journal import Journal
from conformance.proof.judging.judge import Judged, Verdict, judge, unjudged
from conformance.proof.judging.trials import End, Outcome, TestResult
from conformance.proof.mutants.mutant import Mutant
from conformance.proof.output import junit as mutants_junit
from conformance.proof.output import matrix as mutants_report

RULES = ("state.reset", "save.fresh")


def mutant(*rules: str, crash: bool = False) -> Mutant:
    return Mutant("m", rules, "It is wrong.", "", crash, ())


def outcome(end: End = End.DONE, **tests: str) -> Outcome:
    """Tests named r_... are of state.reset, f_... of save.fresh, both_... of both."""
    of = {"r": RULES[:1], "f": RULES[1:], "both": RULES}
    results = {
        name: TestResult(TestOutcome(said), of[name.split("_")[0]], "why")
        for name, said in tests.items()
    }
    return Outcome("m", results, end, "a detail" if end is not End.DONE else "")


GOOD = outcome(r_1="passed", r_2="passed", f_1="passed", both_1="passed")


def test_killed_by_a_test_of_the_rule() -> None:
    judged = judge(mutant("state.reset"), outcome(r_1="failed", f_1="failed"), GOOD)
    assert judged.verdict is Verdict.KILLED
    assert judged.killers == {"state.reset": ("r_1",)}
    assert judged.others == ("save.fresh",)


def test_a_test_of_another_rule_does_not_kill() -> None:
    judged = judge(mutant("state.reset"), outcome(r_1="passed", f_1="failed"), GOOD)
    assert judged.verdict is Verdict.SURVIVED
    assert judged.survived == ("state.reset",)


def test_each_rule_wants_its_own_test() -> None:
    assert judge(mutant(*RULES), outcome(r_1="failed"), GOOD).verdict is Verdict.SURVIVED
    assert judge(mutant(*RULES), outcome(both_1="error"), GOOD).verdict is Verdict.KILLED


@pytest.mark.parametrize("said", ["failed", "error", "skipped"])
def test_what_the_driver_itself_does_not_pass_does_not_kill(said: str) -> None:
    judged = judge(mutant("state.reset"), outcome(r_1="failed"), outcome(r_1=said))
    assert judged.verdict is Verdict.UNJUDGED
    assert (judged.blind, judged.survived) == (("state.reset",), ())
    assert "the driver itself passes no test of state.reset" in mutants_report.line(judged)


def test_one_rule_that_cannot_be_judged_excuses_no_other() -> None:
    baseline = outcome(r_1="failed", f_1="passed")
    assert judge(mutant(*RULES), outcome(f_1="passed"), baseline).verdict is Verdict.SURVIVED
    judged = judge(mutant(*RULES), outcome(f_1="failed"), baseline)
    assert (judged.verdict, judged.blind) == (Verdict.UNJUDGED, RULES[:1])
    assert judge(mutant(RULES[0]), outcome(End.DIED), baseline).verdict is Verdict.LOST


def test_a_skip_does_not_kill() -> None:
    assert judge(mutant(RULES[0]), outcome(r_1="skipped"), GOOD).verdict is Verdict.SURVIVED


@pytest.mark.parametrize("end", [End.DIED, End.HUNG])
def test_a_crash_kills_only_where_it_is_the_defect(end: End) -> None:
    assert judge(mutant(RULES[0]), outcome(end), GOOD).verdict is Verdict.LOST
    assert judge(mutant(RULES[0], crash=True), outcome(end), GOOD).verdict is Verdict.KILLED
    assert judge(mutant(RULES[0]), outcome(end, r_1="failed"), GOOD).verdict is Verdict.KILLED


def events(*names: str) -> Iterator[Event]:
    for name in names:
        kind, _, rest = name.partition(" ")
        if kind == "result":
            test, said = rest.split()
            failure = Failure("", "", "", "", "why", "") if said == "failed" else None
            outcome = TestOutcome(said)
            yield Result(test, ("state.reset",), outcome, 0.1, {}, failure, None, (), ())
        elif kind == "agent-error":
            yield kinds.AgentError(rest.split()[0], rest.split()[-1])
        elif kind == "panic":
            raise GuestPanicked("The kernel died.", ())
        elif kind == "hang":
            raise GuestHung("Nothing was heard.", ())
        else:
            yield Agent(kind, rest)


def test_outcomes_of_one_guest() -> None:
    heard = ("payload", "trial a", "result t failed", "trial-ended a", "trial b", "trial-ended b")
    first, second = trials.follow(events(*heard, "done"))
    assert (first.name, first.end, first.tests["t"].message) == ("a", End.DONE, "why")
    assert (second.name, second.tests) == ("b", {})


@pytest.mark.parametrize(
    ("last", "end"),
    [("panic", End.DIED), ("hang", End.HUNG), ("agent-error bind no", End.GAVE_UP)],
)
def test_bad_ends(last: str, end: End) -> None:
    (only,) = trials.follow(events("trial a", "result t failed", last))
    assert only.end == end
    assert only.tests["t"].bad
    assert only.detail


def test_an_error_of_no_trial_is_the_labs() -> None:
    with pytest.raises(AgentError):
        list(trials.follow(events("payload", "agent-error bind no")))
    with pytest.raises(GuestPanicked):
        list(trials.follow(events("payload", "panic")))


def test_a_fault_of_the_agent_itself_is_no_outcome_of_a_trial() -> None:
    with pytest.raises(AgentError):
        list(trials.follow(events("trial a", "agent-error agent Traceback")))


def test_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.read() == {}
    known = outcome(r_1="failed")
    known.file, known.asked = "abc.ko", ("t1", "t2")
    journal.add(known)
    assert journal.read() == {"m": known}
    assert journal.known(Trial("m", Path("/x/abc.ko"), ("t1",))) == known
    assert journal.known(Trial("m", Path("/x/abd.ko"), ("t1",))) is None
    assert journal.known(Trial("m", Path("/x/abc.ko"), ("t3",))) is None
    with (tmp_path / "journal").open("a") as file:
        file.write('{"name": "cut", "tests": {}')
    assert journal.read() == {"m": known}
    other = Outcome("other", file="abd.ko")
    journal.add(other)  # the line that was cut does not spoil the next
    assert journal.read() == {"m": known, "other": other}


def judged() -> list[Judged]:
    return [
        judge(mutant(*RULES), outcome(r_1="failed", f_1="passed"), GOOD),
        judge(mutant(RULES[0]), outcome(r_1="failed", f_1="failed"), GOOD),
        unjudged(mutant(RULES[0]), Verdict.BROKEN, "It does not build."),
    ]


def test_matrix() -> None:
    text = "\n".join(mutants_report.matrix(judged()))
    assert "m  S\n" in f"{text}\n"
    assert "m  K\n" in text


def test_report_files(tmp_path: Path) -> None:
    mutants_report.write(tmp_path, judged(), {"t": "why"}, {"test_x": "first-set"})
    document = json.loads((tmp_path / mutants_report.JSON).read_text())
    assert document["summary"] == {"killed": 1, "survived": 1, "broken": 1}
    assert document["unfit-tests"] == {"t": "why"}
    assert document["fatal-tests"] == {"test_x": "first-set"}
    for name in (mutants_report.TEXT, mutants_report.MARKDOWN):
        assert "- `test_x`, by first-set\n" in (tmp_path / name).read_text()
    assert document["mutants"][1]["rules"] == {"state.reset": ["r_1"]}
    assert "| survived | save.fresh | nothing |" in (tmp_path / mutants_report.MARKDOWN).read_text()


def test_junit(tmp_path: Path) -> None:
    every = [*judged(), unjudged(mutant(RULES[0]), Verdict.NOT_RUN)]
    mutants_junit.write(tmp_path, every, {"t": "why"})
    document = ElementTree.parse(tmp_path / mutants_junit.JUNIT)  # noqa: S314 - our own
    (suite,) = document.getroot()
    assert suite.attrib.items() >= {"tests": "5", "failures": "3", "skipped": "1"}.items()
    survived, killed, *_ = suite.findall("testcase")
    assert survived.find("failure") is not None
    assert killed.find("failure") is None
    assert [one.get("value") for one in killed.iter("property")] == ["state.reset"]


def test_a_survivor_is_reported_with_its_defect() -> None:
    said = mutants_report.line(judged()[0])
    assert said == "m: SURVIVED; It is wrong.; no test failed of save.fresh"


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    every = {name: mutant("state.reset") for name in "abcdefghij"}
    assert pipeline.sample(every, 3, 1) == pipeline.sample(every, 3, 1)
    assert len(pipeline.sample(every, 99, 1)) == 10
