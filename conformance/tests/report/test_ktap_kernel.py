# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own parser, tools/testing/kunit/kunit_parser.py, takes our KTAP."""

import importlib
import io
import os
from pathlib import Path
from types import ModuleType

import pytest

from conformance.events.stream import parse
from conformance.report import Reporter, Verdict, replay
from conformance.requirements import load
from conformance.tests.report.test_report import finish, result, session, start

DATA = Path(__file__).with_name("data")
STORIES = sorted(path.stem for path in DATA.glob("*.jsonl"))
PANIC = Verdict.kernel_died("panic", ("Kernel panic - not syncing: VFS: no root", "1..5", "ok 1 x"))

pytestmark = pytest.mark.slow


@pytest.fixture
def kunit_parser(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    tree = os.environ.get("VFIO_KIT_LINUX")
    if not tree:
        pytest.skip("VFIO_KIT_LINUX names no kernel source: KTAP not shown to kunit_parser.py")
    monkeypatch.syspath_prepend(str(Path(tree) / "tools/testing/kunit"))
    return importlib.import_module("kunit_parser")


@pytest.mark.parametrize(
    "verdict", [None, PANIC, Verdict.interrupted()], ids=["", "panic", "ctrl-c"]
)
@pytest.mark.parametrize("story", STORIES)
def test_kunit_parser_counts_what_we_counted(
    tmp_path: Path, kunit_parser: ModuleType, story: str, verdict: Verdict | None
) -> None:
    reporter = Reporter(tmp_path, io.StringIO(), requirements=load(), versions={})
    code = replay(DATA / f"{story}.jsonl", reporter, verdict)
    parsed = kunit_parser.parse_run_tests((tmp_path / "report.ktap").read_text().splitlines())
    count = {str(outcome): number for outcome, number in _counts(reporter).items()}
    ended_badly = code not in (0, 1)
    assert parsed.counts.errors == 0
    assert parsed.counts.crashed == 0
    assert parsed.counts.passed == count["passed"]
    assert parsed.counts.failed == count["failed"] + count["error"] + count["running"] + ended_badly
    assert parsed.counts.skipped == count["skipped"] + count["not-run"]


LIKE_KTAP = ["ok 1 x", "not ok 2 y", "KTAP version 1", "TAP version 14", "1..9", "# Subtest: z",
             "    not ok 3 a", "ok 4 b # SKIP c", "Bail out!", "a\nnot ok 5 b", "a\u2028ok 6 b",
             "a\rok 7 b", "ok 8 - a # TIMEOUT"]  # fmt: skip


def test_lines_of_a_log_are_no_tests(tmp_path: Path, kunit_parser: ModuleType) -> None:
    reporter = Reporter(tmp_path, io.StringIO(), requirements=load(), versions={})
    said = {"klog": LIKE_KTAP, "calls": LIKE_KTAP, "failure": {"message": "\n".join(LIKE_KTAP)}}
    events = [session(3)]
    for outcome in ("passed", "failed", "skipped"):
        events += [start(outcome), {**result(outcome, outcome), **said, "skip": LIKE_KTAP[0]}]
    for event in (*events, finish(1)):
        reporter.feed(parse(event))
    reporter.finish(Verdict.completed())
    parsed = kunit_parser.parse_run_tests((tmp_path / "report.ktap").read_text().splitlines())
    counts = parsed.counts
    assert (counts.passed, counts.failed, counts.skipped) == (1, 1, 1)
    assert (counts.errors, counts.crashed) == (0, 0)


def _counts(reporter: Reporter) -> dict[str, int]:
    outcomes = [str(record.outcome) for record in reporter.results.tests.values()]
    words = ("passed", "failed", "error", "skipped", "running", "not-run")
    return {word: outcomes.count(word) for word in words}
