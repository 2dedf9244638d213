# SPDX-License-Identifier: GPL-2.0-only
"""kcidb.json, by KCIDB's own schema, and what it says of a run."""

import importlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from conformance.events.stream import parse
from conformance.report import Conclusion, Reporter, Verdict, replay
from conformance.report.formats.kcidb import ORIGIN
from conformance.requirements import load
from conformance.tests.report.test_page import EVIL
from conformance.tests.report.test_report import finish, reporter, result, session, start
from conformance.tests.report.test_stories import DATA, PANIC, VERSIONS

STORIES = sorted(path.stem for path in DATA.glob("*.jsonl"))


def read(folder: Path) -> Any:
    """Return what a run has left, valid by the schema that KCIDB's own package has."""
    document = json.loads((folder / "kcidb.json").read_text("utf-8"))
    pytest.importorskip("kcidb_io", reason="kcidb-io is missing: make setup")
    schema = importlib.import_module("kcidb_io.schema")
    schema.V5_0.validate(document)
    schema.LATEST.validate(schema.LATEST.upgrade(document))
    return document


def story(folder: Path, name: str, verdict: Verdict | None = None) -> dict[str, Any]:
    """Return the entries of a recorded run, by their path."""
    one = Reporter(folder, io.StringIO(), requirements=load(), versions=VERSIONS)
    replay(DATA / f"{name}.jsonl", one, verdict)
    return {test["path"]: test for test in read(folder)["tests"]}


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("verdict", [None, PANIC], ids=["", "panic"])
def test_every_story_is_valid(tmp_path: Path, name: str, verdict: Verdict | None) -> None:
    assert "vfio_migration" in story(tmp_path, name, verdict)


def test_a_broken_document_is_not_valid(tmp_path: Path) -> None:
    story(tmp_path, "all-pass")
    path = tmp_path / "kcidb.json"
    path.write_text(path.read_text().replace('"PASS"', '"GOOD"', 1))
    with pytest.raises(importlib.import_module("jsonschema").ValidationError):
        read(tmp_path)


def test_rules_are_tests_and_those_without_a_test_are_not(tmp_path: Path) -> None:
    tests = story(tmp_path, "one-failure")
    assert tests["vfio_migration"]["status"] == "FAIL"
    failed = tests["vfio_migration.saving.refuse"]
    assert failed["status"] == "FAIL"
    assert failed["comment"] == load()["saving.refuse"].text
    assert "came back the write succeeded" in failed["log_excerpt"]
    assert "device_state <- 3 (_RUNNING|_SAVING) = 4" in failed["log_excerpt"]
    assert "saving with 1 conflicting mapping" in failed["log_excerpt"]
    assert "vfio_migration.saving.accept" not in tests


def test_a_kernel_that_died(tmp_path: Path) -> None:
    tests = story(tmp_path, "panic-in-test", PANIC)
    assert tests["vfio_migration"]["status"] == "FAIL"
    assert "Kernel panic" in tests["vfio_migration"]["log_excerpt"]
    assert tests["vfio_migration.state.reset"]["status"] == "MISS"
    assert tests["vfio_migration.region.type"]["status"] == "PASS"


def test_an_error_is_not_a_failure_and_a_skip_says_why(tmp_path: Path) -> None:
    assert story(tmp_path, "error")["vfio_migration.state.default"]["status"] == "ERROR"
    skipped = story(tmp_path / "skips", "skips")["vfio_migration.resume.round-trip"]
    assert skipped["status"] == "SKIP"
    assert skipped["misc"]["because"] == ["no second function: give --vfio-peer"]
    free = story(tmp_path / "free", "free")["vfio_migration.state.arc-free.3-0"]
    assert free["misc"]["observed"] == ["accepted"]


@pytest.mark.parametrize("conclusion", list(Conclusion))
def test_every_end_without_an_event(tmp_path: Path, conclusion: Conclusion) -> None:
    reporter(tmp_path).finish(Verdict(conclusion, "a reason"))
    document = read(tmp_path)
    (run,) = document["tests"]
    assert run["misc"]["exit_code"] in (conclusion.exit_code, 4)
    assert (run["status"] == "PASS") is False  # nothing ran
    assert "status" not in document["builds"][0]


def test_no_two_runs_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ORIGIN, "Our Lab")
    for name in ("a", "b"):
        story(tmp_path / name, "all-pass")
    one, two = (read(tmp_path / name) for name in ("a", "b"))
    ids = [{test["id"] for test in found["tests"]} for found in (one, two)]
    assert not ids[0] & ids[1]
    assert len(ids[0]) == len(one["tests"])
    assert {test["origin"] for test in one["tests"]} == {"our_lab"}


def test_words_of_the_guest_are_harmless_and_cut(tmp_path: Path) -> None:
    report = reporter(tmp_path)
    said = dict.fromkeys(("did", "expected", "actual", "message", "where"), EVIL + "\0")
    report.feed(parse({**session(1), "device": {"driver": "\0" + EVIL, "\0": EVIL}}))
    report.feed(parse(start("a\0")))
    bad = {**result("a\0", "failed"), "failure": {"rule": "state.reset", **said}}
    report.feed(parse({**bad, "calls": ["\x1b" * 50_000] * 9, "klog": ["\0"] * 9}))
    report.feed(parse(finish(1)))
    report.version("module", EVIL)
    report.finish(Verdict.kernel_died(EVIL, ("\0" * 90_000,)))
    assert read(tmp_path)["tests"][1]["status"] == "FAIL"
    assert "\x1b" not in (tmp_path / "kcidb.json").read_text()
