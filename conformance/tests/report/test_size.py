# SPDX-License-Identifier: GPL-2.0-only
"""Reports of large runs: time grows with the number of tests, logs that are too long are cut."""

import json
import time
from pathlib import Path
from xml.etree import ElementTree

from conformance.events.stream import parse
from conformance.report import Verdict
from conformance.tests.report.test_report import Clock, Terminal, finish, reporter, result, session
from conformance.tests.report.test_report import start as begin

#: What libxml2 takes of a text or an attribute without XML_PARSE_HUGE.
LIBXML2 = 10_000_000


def test_log_of_a_test_is_cut_in_junit_and_whole_elsewhere(tmp_path: Path) -> None:
    report = reporter(tmp_path)
    failure = {"rule": "state.reset", "did": "x", "expected": "y", "actual": "\x1b" * 300_000}
    failure |= {"message": "m" * 300_000, "where": ""}
    lines = {"klog": ["k" * 1_000_000], "calls": ["c" * 100] * 20_000, "failure": failure}
    for event in (session(1), begin("a"), {**result("a", "failed"), **lines}, finish(1)):
        report.feed(parse(event))
    assert report.finish(Verdict.completed()) == 1
    tree = ElementTree.fromstring((tmp_path / "junit.xml").read_text())  # noqa: S314 - ours
    for element in tree.iter():
        texts = (element.text or "", *element.attrib.values())
        # Spelled out, a character may become ten.
        assert all(len(value) * 10 < LIBXML2 for value in texts if "\\x1b" not in value)
        assert all(len(value) < LIBXML2 for value in texts)
    (error,) = tree.iter("system-err")
    assert "cut; in full in events.jsonl" in (error.text or "")
    kept = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[2])
    assert kept["klog"] == lines["klog"]
    document = json.loads((tmp_path / "results.json").read_text())
    assert len(document["tests"][0]["calls"]) == 20_000


def test_time_grows_with_the_number_of_tests(tmp_path: Path) -> None:
    """Ten times the tests take less than thirty times as long; it was a hundred times."""

    def seconds(number: int) -> float:
        out = Terminal()
        report = reporter(tmp_path / str(number), out, Clock())
        begun = time.process_time()
        report.feed(parse(session(number)))
        for n in range(number):
            report.feed(parse(begin(f"t{n}")))
            report.feed(parse(result(f"t{n}")))
        report.feed(parse(finish(0)))
        assert report.finish(Verdict.completed()) == 0
        return time.process_time() - begun

    seconds(200)
    assert seconds(4000) < 30 * max(seconds(400), 0.05)
