# SPDX-License-Identifier: GPL-2.0-only
"""report.html: what is on it, that everybody can read it, and that the guest cannot write it."""

import base64
import hashlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.events.stream import parse
from conformance.report import Reporter, Verdict, replay
from conformance.report.page import HTML_FILE, graph
from conformance.report.page.graph import Graph, Seen
from conformance.report.results import Results
from conformance.requirements import load
from conformance.tests.report.html import Element, mistakes, read
from conformance.tests.report.test_report import finish, reporter, result, session, start
from conformance.tests.report.test_stories import DATA, PANIC, VERSIONS

STORIES = sorted(path.stem for path in DATA.glob("*.jsonl"))
EVIL = "</pre></style></script><script>alert(1)</script>\"'><img src=x onerror=y>&\x1b[31m\u202e"
RULE = "state.reset"


def story(folder: Path, name: str, verdict: Verdict | None = None) -> Element:
    out = io.StringIO()
    replay(
        DATA / f"{name}.jsonl",
        Reporter(folder, out, requirements=load(), versions=VERSIONS),
        verdict,
    )
    assert out.getvalue().splitlines()[-1] == f"report: {(folder / HTML_FILE).as_uri()}"
    return read(folder / HTML_FILE)


def section(page: Element, name: str) -> str:
    (found,) = (one for one in page.every() if one.attributes.get("id") == name)
    return found.words()


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("verdict", [None, PANIC], ids=["", "panic"])
def test_every_story_can_be_read_by_everybody(
    tmp_path: Path, name: str, verdict: Verdict | None
) -> None:
    assert mistakes(story(tmp_path, name, verdict)) == []


def test_mistakes_are_found(tmp_path: Path) -> None:
    page = "<html lang=en><h1>a</h1><h3>b</h3><a href='#x'></a><table><tr><th>c</th></tr></table>"
    page += "<svg></svg><input><p id=x1></p><p id=x1 onclick=y style=z></p><img src=q></html>"
    (tmp_path / "page.html").write_text(page)
    assert len(mistakes(read(tmp_path / "page.html"))) == 9


def test_a_failure_has_its_rule_calls_and_kernel_log(tmp_path: Path) -> None:
    page = story(tmp_path, "one-failure")
    assert "does not conform" in section(page, "verdict")
    assert "Exit code 1" in section(page, "verdict")
    failure = section(page, "failure-1")
    assert load()["saving.refuse"].text in failure
    assert "EBUSY, and device_state still 1" in failure
    assert "device_state <- 3 (_RUNNING|_SAVING) = 4" in failure
    assert "mmap BAR 0 0x0+0x100 " in failure  # the first of many calls, which a terminal omits
    assert "saving with 1 conflicting mapping" in failure


def test_a_panic_shows_the_console_and_the_test(tmp_path: Path) -> None:
    failures = section(story(tmp_path, "panic-in-test", PANIC), "failures")
    assert "test_state.py::test_reset[4] was running when the run ended" in failures
    assert "Kernel panic - not syncing" in failures


def test_the_table_has_every_rule_with_text_and_source(tmp_path: Path) -> None:
    page = story(tmp_path, "skips")
    (table,) = (x for x in page.all("table") if x.attributes.get("id") == "table-of-rules")
    rows = {row.all("th")[0].text: row for row in table.all("tr")[1:]}
    assert rows.keys() == load().keys()
    for rule, row in rows.items():
        assert load()[rule].text in row.words()
    skipped = rows["resume.round-trip"]
    assert skipped.attributes["data-outcome"] == "skipped"
    assert "no second function: give --vfio-peer" in skipped.words()
    assert "no second function" in section(page, "unjudged")


def test_the_filter_offers_what_the_rows_have(tmp_path: Path) -> None:
    page = story(tmp_path, "free")
    assert [one.attributes["hidden"] for one in page.all("fieldset")] == [""]  # without a script
    for select in page.all("select"):
        values = {one.attributes["value"] for one in select.all("option")} - {""}
        key = f"data-{select.attributes['name']}"
        there = {one.attributes[key] for one in page.every() if key in one.attributes}
        assert there <= values


def reported(folder: Path, *events: dict[str, Any]) -> Element:
    report = reporter(folder)
    for event in events:
        report.feed(parse(event))
    report.version("module", EVIL)
    report.finish(Verdict.kernel_died(EVIL, (EVIL,)))
    return read(folder / HTML_FILE)


def test_nothing_of_the_guest_is_taken_for_the_page(tmp_path: Path) -> None:
    said = dict.fromkeys(("did", "expected", "actual", "message", "where"), EVIL)
    evil = {**result(EVIL, "failed"), "failure": {"rule": RULE, **said}}
    device = dict.fromkeys(("bdf", "driver", "vendor"), EVIL)
    page = reported(
        tmp_path,
        {**session(2), "device": device, "kernel": EVIL, "volatile": [EVIL]},
        start(EVIL),
        {**evil, "calls": [EVIL], "klog": [EVIL], "switched_off": {EVIL: EVIL}},
        start("b"),
        {**result("b", "skipped"), "skip": EVIL},
        {"event": "agent-error", "phase": EVIL, "message": EVIL, "klog": [EVIL]},
        finish(1),
    )
    assert mistakes(page) == []
    assert not page.all("img")
    assert len(page.all("script")) == len(page.all("style")) == 1
    text = (tmp_path / HTML_FILE).read_text()
    assert text.count("alert(1)") >= 15  # it is all there, and harmless
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_policy_allows_the_own_style_and_script_only(tmp_path: Path) -> None:
    page = story(tmp_path, "all-pass")
    (policy,) = (x.attributes["content"] for x in page.all("meta") if "http-equiv" in x.attributes)
    assert policy.startswith("default-src 'none'; ")
    for kind in ("style", "script"):
        (own,) = page.all(kind)
        digest = base64.b64encode(hashlib.sha256(own.text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_long_logs_are_cut_and_many_failures_are_listed(tmp_path: Path) -> None:
    events = [session(40)]
    for number in range(40):
        bad = {**result(f"t{number}", "failed"), "calls": ["call"] * 399 + ["c" * 100_000]}
        events += [start(f"t{number}"), bad]
    page = reported(tmp_path, *events, finish(1))
    assert "last 200 of 400" in section(page, "failure-1")
    assert "35 more, in full in results.json" in section(page, "failure-1")
    assert (tmp_path / HTML_FILE).stat().st_size < 1_000_000


def test_without_jinja2_the_run_has_all_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "conformance.report.page.run")
    monkeypatch.delattr("conformance.report.page.run")
    monkeypatch.setitem(sys.modules, "conformance.report.page.environment", None)
    out = io.StringIO()
    assert replay(DATA / "all-pass.jsonl", reporter(tmp_path, out)) == 0
    assert "report.html is not written: the package jinja2 is missing" in out.getvalue()
    assert "report: " not in out.getvalue()
    assert not (tmp_path / HTML_FILE).exists()
    assert (tmp_path / "results.json").exists()


def judged(protocol: int, **outcomes: str) -> Graph:
    """Return the graph of a run whose tests ended so; the rules by their last part."""
    results = Results(load())
    results.add(parse({**session(len(outcomes)), "protocol": protocol}))
    for rule, outcome in outcomes.items():
        (name,) = (x for x in load() if x.partition(".")[2] == rule)
        results.add(parse(start(rule, name)))
        seen = {name: outcome} if outcome in ("accepted", "refused") else {}
        ended = "passed" if seen else outcome
        results.add(parse({**result(rule, ended, name), "observed": seen}))
    found = graph.graph(results)
    assert found is not None
    return found


def seen(found: Graph) -> dict[str, Seen]:
    return {arc.rule.requirement.id.rpartition(".")[2]: arc.seen for arc in found.arcs}


def test_every_transition_that_has_a_rule_is_in_the_graph() -> None:
    for protocol, pattern in (
        (1, r"state\.arc.*\.\d-\d"),
        (2, r"fsm\.(arc|combination)\..*-to-.*"),
    ):
        named = [rule for rule in load() if re.fullmatch(pattern, rule)]
        assert named == [arc.rule.requirement.id for arc in judged(protocol).arcs]
        assert len(named) > 15
        places = {(state.x, state.y) for state in judged(protocol).states}
        assert len(places) == len(judged(protocol).states)


def test_arcs_are_coloured_by_what_was_seen() -> None:
    outcomes = {"arc.1-0": "passed", "arc.1-2": "failed", "arc.1-3": "skipped"}
    outcomes |= {"arc-free.0-3": "refused", "arc-free.0-4": "accepted"}
    outcomes |= {"arc.1-4": "not-applicable", "arc-free.2-4": "passed"}
    found = judged(1, **outcomes)
    assert seen(found) == {
        **dict.fromkeys(seen(found), Seen.UNKNOWN),
        "1-0": Seen.TAKEN,
        "1-2": Seen.FAILED,
        "1-4": Seen.ABSENT,
        "0-3": Seen.REFUSED,
        "0-4": Seen.TAKEN,
    }
    assert found.reached == {"1", "0", "4"}
    assert found.drawn[-1].seen is Seen.FAILED  # on top of the others


def test_combinations_are_in_the_table_only() -> None:
    found = judged(2, **{"combination.pre-copy-to-stop": "failed", "arc.stop-to-running": "passed"})
    assert found.combined
    assert Seen.FAILED not in {arc.seen for arc in found.drawn}
    assert "1 failed" in found.counted
    assert found.reached == {"stop", "running"}


def test_no_graph_of_an_unknown_version() -> None:
    assert graph.graph(Results(load())) is None
