# SPDX-License-Identifier: GPL-2.0-only
"""What the reporter makes of a run as it goes, and when things go wrong."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.events.errors import EventError
from conformance.events.stream import parse
from conformance.report import Conclusion, Reporter, ResultsFolderError, Verdict
from conformance.report.text import printable
from conformance.requirements import load

RULE = "state.reset"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when printed to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def session(collected: int) -> dict[str, Any]:
    return {"event": "session", "collected": collected, "device": {"bdf": "0000:01:10.0"}}


def start(name: str, rule: str = RULE) -> dict[str, Any]:
    return {"event": "start", "id": name, "rules": [rule]}


def result(name: str, outcome: str = "passed", rule: str = RULE) -> dict[str, Any]:
    return {**start(name, rule), "event": "result", "outcome": outcome, "duration": 0.1}


def finish(status: int) -> dict[str, Any]:
    return {"event": "finish", "status": status, "duration": 1}


def reporter(folder: Path, out: io.StringIO | None = None, clock: Clock | None = None) -> Reporter:
    return Reporter(
        folder, out or io.StringIO(), requirements=load(), versions={}, clock=clock or Clock()
    )


def ended(folder: Path, *events: dict[str, Any]) -> tuple[int, str]:
    """Exit code and reason of a completed run with these events."""
    report = reporter(folder)
    for event in events:
        report.feed(parse(event))
    code = report.finish(Verdict.completed())
    return code, json.loads((folder / "results.json").read_text())["verdict"]["reason"]


PASS = (start("a"), result("a"))


@pytest.mark.parametrize(
    ("events", "code", "words"),
    [
        ((session(1), *PASS, finish(0)), 0, ""),
        ((session(1), *PASS, finish(1)), 4, "no test failed"),
        ((session(1), *PASS, finish(3)), 4, "status 3"),
        ((session(1), *PASS), 4, "never ended"),
        ((), 4, "never began"),
        ((session(0), finish(5)), 2, "no test was selected"),
        ((finish(4),), 2, "refused its arguments"),
        ((session(2), *PASS, finish(0)), 4, "1 tests did not run"),
        ((session(2), start("a"), result("a", "failed"), finish(1)), 1, "1 MUST rule failed"),
        ((session(1), start("a"), finish(0)), 4, "left a without a result"),
        ((session(1), start("a"), result("a", "skipped"), finish(0)), 4, "all tests were skipped"),
    ],
)
def test_only_a_whole_run_conforms(
    tmp_path: Path, events: tuple[dict[str, Any], ...], code: int, words: str
) -> None:
    assert ended(tmp_path, *events)[0] == code
    assert words in ended(tmp_path, *events)[1]


def test_a_test_without_a_rule_looks_after_the_kit_and_blames_nobody(tmp_path: Path) -> None:
    broken = {**result("a", "failed"), "rules": []}
    code, reason = ended(tmp_path, session(1), {**start("a"), "rules": []}, broken, finish(1))
    assert code == 4
    assert "of the kit itself" in reason


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ((start("a"),), "before the session"),
        ((session(1), session(1)), "second session"),
        ((session(1), result("a")), "has not started"),
        ((session(2), start("a"), start("b")), "while a still runs"),
        ((session(2), *PASS, start("a")), "for the second time"),
        ((session(1), start("a", "state.rest")), "no rule state.rest"),
    ],
)
def test_disorder_is_refused_and_the_run_proves_nothing(
    tmp_path: Path, events: tuple[dict[str, Any], ...], words: str
) -> None:
    report = reporter(tmp_path)
    *fine, bad = events
    for event in fine:
        report.feed(parse(event))
    with pytest.raises(EventError, match=words):
        report.feed(parse(bad))
    assert report.finish(Verdict.completed()) == 4
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert parse(json.loads(lines[-1])) == parse(bad)  # kept, for whoever looks for the reason


def test_finish_counts_once(tmp_path: Path) -> None:
    report = reporter(tmp_path)
    assert report.finish(Verdict.interrupted()) == 130
    assert report.finish(Verdict.completed()) == 130


@pytest.mark.parametrize("conclusion", list(Conclusion))
def test_files_are_whole_without_a_single_event(tmp_path: Path, conclusion: Conclusion) -> None:
    report = reporter(tmp_path)
    report.finish(Verdict(conclusion, "a reason"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.jsonl",
        "junit.xml",
        "kcidb.json",
        "report.html",
        "report.ktap",
        "results.json",
    ]


def test_exit_codes_are_distinct() -> None:
    codes = [conclusion.exit_code for conclusion in Conclusion]
    assert codes == [0, 1, 2, 3, 4, 5, 130]


def test_a_folder_which_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsFolderError, match="choose another one"):
        reporter(tmp_path / "file" / "results")


def test_a_full_disk_is_said_and_nothing_else_breaks(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    report = reporter(tmp_path)
    with pytest.raises(ResultsFolderError, match="No space left on device"):
        report.feed(parse(session(1)))
    assert report.finish(Verdict.lab_failed("no space")) == 4


def test_a_run_goes_on_when_nobody_reads_it_any_more(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        report = Reporter(tmp_path, out, requirements=load(), versions={})
        for event in (session(1), *PASS, finish(0)):
            report.feed(parse(event))
        assert report.finish(Verdict.completed()) == 0
    assert json.loads((tmp_path / "results.json").read_text())["verdict"]["exit_code"] == 0


def test_a_terminal_without_unicode_gets_what_it_can_show(tmp_path: Path) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    report = Reporter(tmp_path, out, requirements=load(), versions={})
    report.note("größer")
    out.seek(0)
    assert out.read() == "gr\\xf6\\xdfer\n"


def test_plain_progress_is_periodic_and_failures_are_immediate(tmp_path: Path) -> None:
    out, clock = io.StringIO(), Clock()
    report = reporter(tmp_path, out, clock)
    report.feed(parse(session(4)))
    for name in "ab":
        report.feed(parse(start(name)))
        report.feed(parse(result(name)))
    assert "[2/4]" not in out.getvalue()
    clock.now = 11.0
    report.feed(parse(start("c")))
    report.feed(parse(result("c", "failed")))
    assert f"FAILED  c  [{RULE}]\n[3/4] 1 failed\n" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_live_progress_is_one_line_within_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    report = reporter(tmp_path, out)
    report.feed(parse(session(2)))
    before = len(out.getvalue())
    report.feed(parse(start("x" * 100)))
    shown = out.getvalue()[before:]
    assert shown.startswith("\r\x1b[2K[0/2]")
    assert "\n" not in shown
    assert len(shown) < 40 + len("\r\x1b[2K")
    report.note("a line of the host")
    assert "\r\x1b[2Ka line of the host\n" in out.getvalue()


def test_versions_and_timings_reach_the_file(tmp_path: Path) -> None:
    clock = Clock()
    report = reporter(tmp_path, clock=clock)
    clock.now = 2.5
    report.version("qemu", "10.0.3")
    report.timing("build", 1.23456)
    report.finish(Verdict.interrupted())
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["versions"] == {"qemu": "10.0.3"}
    assert document["timings"] == {"build": 1.235, "total": 2.5}


def test_failures_of_a_rule_are_reported_together_and_the_first_in_full(tmp_path: Path) -> None:
    out = io.StringIO()
    report = reporter(tmp_path, out)
    report.feed(parse(session(5)))
    said = {"rule": RULE, "did": "reset", "expected": "state 1", "actual": "state 2"}
    for name in "abcde":
        report.feed(parse(start(name)))
        report.feed(parse({**result(name, "failed"), "failure": said}))
    report.feed(parse(finish(1)))
    report.finish(Verdict.completed())
    text = out.getvalue()
    assert text.count(load()[RULE].text.split(".")[0][:40]) == 1
    assert text.count("  did        reset\n") == 3
    assert "2 more, in full in results.json:" in text
    assert "e: expected state 1, came back state 2\n" in text


def test_names_of_tests_cannot_break_the_ktap(tmp_path: Path) -> None:
    report = reporter(tmp_path)
    for event in (session(1), start("a # SKIP\nnot ok 2 b"), result("a # SKIP\nnot ok 2 b")):
        report.feed(parse(event))
    report.feed(parse(finish(0)))
    report.finish(Verdict.completed())
    assert "ok 1 a + SKIP not ok 2 b\n" in (tmp_path / "report.ktap").read_text()


def test_half_a_character_of_the_guest_harms_no_file(tmp_path: Path) -> None:
    report = reporter(tmp_path)
    broken = {**result("a", "skipped"), "skip": json.loads('"\\ud800"'), "klog": ["\ud800"]}
    for event in (session(1), start("a"), broken, finish(0)):
        report.feed(parse(event))
    assert report.finish(Verdict.completed()) == 4  # everything was skipped
    assert r"\ud800" in (tmp_path / "report.ktap").read_text()


def test_printable_keeps_text_and_spells_out_the_rest() -> None:
    assert printable("naïve\n") == "naïve\n"
    assert printable("\x00\x1b\ud800\ufffe\r") == r"\x00\x1b\ud800\ufffe\r"


def test_nothing_to_judge_does_not_look_like_conforming(tmp_path: Path) -> None:
    out = io.StringIO()
    one = reporter(tmp_path, out)
    why = "0000:01:10.0, bound to vfio-pci: it offers no migration region"
    one.feed(parse({**session(1), "lacking": why}))
    one.feed(parse(start("a")))
    one.feed(parse({**result("a", "skipped"), "skip": f"not applicable: {why}"}))
    one.feed(parse(finish(0)))
    assert one.finish(Verdict.completed()) == 5
    assert f"nothing was judged: no rule is applicable: {why}" in out.getvalue()
    assert "NOT APPLICABLE" in out.getvalue()
    verdict = json.loads((tmp_path / "results.json").read_text())["verdict"]
    assert verdict["conclusion"] == "not-applicable"


def test_what_the_device_does_not_have_is_neither_passed_nor_skipped(tmp_path: Path) -> None:
    out = io.StringIO()
    one = reporter(tmp_path, out)
    one.feed(parse({**session(2), "protocol": 2}))
    for name in ("a", "b"):
        one.feed(parse(start(name, "saving.refuse" if name == "a" else "saving.accept")))
        printed = {"skip": "this device has no pre-copy"} if name == "b" else {}
        outcome = "not-applicable" if name == "b" else "passed"
        rule = "saving.accept" if name == "b" else "saving.refuse"
        one.feed(parse({**result(name, outcome), "rules": [rule], **printed}))
    one.feed(parse(finish(0)))
    assert one.finish(Verdict.completed()) == 0
    assert "this session judges version 2 of the protocol" in out.getvalue()
    assert "this device has no pre-copy" in out.getvalue()
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["rules"]["saving.accept"]["verdict"] == "not-applicable"
    assert document["rules"]["state.default"]["verdict"] == "not-applicable"
    assert document["counts"]["tests"]["not-applicable"] == 1
    assert (
        "# SKIP not applicable: this device has no pre-copy"
        in (tmp_path / "report.ktap").read_text()
    )
    assert "not applicable: this device" in (tmp_path / "junit.xml").read_text()


def test_registers_that_were_not_looked_at_are_named(tmp_path: Path) -> None:
    out = io.StringIO()
    one = reporter(tmp_path, out)
    named = {"volatile": ["0:0x4400:0xffffffff"], "fatal": ["stale-write"]}
    one.feed(parse({**session(1), **named}))
    one.feed(parse(start("a")))
    one.feed(parse(result("a")))
    one.feed(parse(finish(0)))
    one.finish(Verdict.completed())
    assert "IGNORED" in out.getvalue()
    assert "0:0x4400:0xffffffff" in out.getvalue()
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["volatile"] == ["0:0x4400:0xffffffff"]
    assert document["fatal"] == ["stale-write"]


def test_without_junitparser_the_other_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "junitparser", None)
    monkeypatch.delitem(sys.modules, "conformance.report.formats.junit", raising=False)
    monkeypatch.delattr("conformance.report.formats.junit", raising=False)
    out = io.StringIO()
    one = reporter(tmp_path, out)
    one.feed(parse(session(1)))
    one.feed(parse(start("a")))
    one.feed(parse(result("a")))
    one.feed(parse(finish(0)))
    assert one.finish(Verdict.completed()) == 0
    assert "junit.xml is not written" in out.getvalue()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.jsonl",
        "kcidb.json",
        "report.html",
        "report.ktap",
        "results.json",
    ]


def test_kernel_check_that_is_off_is_reported_with_its_test(
    tmp_path: Path,
) -> None:
    out = io.StringIO()
    report = reporter(tmp_path, out)
    limit = {"lockdep": "BUG: MAX_LOCKDEP_KEYS too low!"}
    events = (session(2), start("a"), {**result("a"), "switched_off": limit})
    for event in (*events, start("b"), {**result("b"), "switched_off": limit}, finish(0)):
        report.feed(parse(event))
    assert report.finish(Verdict.completed()) == 0
    assert "OFF  lockdep, from a on" in out.getvalue()
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["switched_off"] == {"lockdep": {"since": "a", "klog": limit["lockdep"]}}
