# SPDX-License-Identifier: GPL-2.0-only
"""The gate on small trees: seeded faults are found, at the right patch, and nothing else is."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from conformance.__main__ import main
from conformance.gate import patch as gate_patch
from conformance.gate import report as gate_report
from conformance.gate import run as gate
from conformance.gate.building import boot as gate_boot
from conformance.gate.results import Step, Verdict
from conformance.lab.check.prepare import Options
from conformance.tests.gate.kit import BETTER, FOLDER, MAIN, SIGNED, Kit, failures, reason
from kpatch.errors import KernelTreeError, SeriesError, SourceTreeError
from kpatch.tests.series import fake_source
from kpatch.tests.series.fake_source import snapshot

# A C compiler is no part of a fresh host; the slow tests have that of the image.
pytestmark = pytest.mark.slow


def test_good_series(kit: Kit) -> None:
    report = kit.judge(kit.series())
    assert failures(report) == []
    assert report.passed
    assert [patch.subject for patch in report.patches] == [
        "vfio: Add a constant",
        "vfio/neu: Add a driver",
        "vfio/neu: Return more",
    ]
    assert [
        step.verdict for patch in report.patches for step in patch.steps if step.name == "build"
    ]


def test_base_warning_is_not_theirs(kit: Kit) -> None:
    report = kit.judge(kit.series())
    assert any("unused variable" in key for key in report.patches[0].warnings)


def test_base_warning_of_a_folder_that_a_later_patch_touches(kit: Kit) -> None:
    kit.changes[0] = {"whatever/a.txt": "x\n"}
    kit.changes[2] = {"drivers/vfio/core.c": kit.text("drivers/vfio/core.c") + "/* more */\n"}
    assert failures(kit.judge(kit.series())) == []


def test_does_not_apply(kit: Kit) -> None:
    series = kit.series()
    path = next(series.glob("0003-*"))
    path.write_text(path.read_text().replace("-\treturn 0;", "-\treturn 7;"))
    report = kit.judge(series)
    assert failures(report) == [(3, "apply")]
    assert "patch failed: drivers/vfio/pci/neu/main.c:" in reason(report, 3, "apply")


def test_nothing_is_judged_after_one_that_does_not_apply(kit: Kit) -> None:
    series = kit.series()
    path = next(series.glob("0002-*"))
    path.write_text(path.read_text().replace("@@ -0,0 +1", "@@ -1,1 +1"))
    report = kit.judge(series)
    assert failures(report) == [(2, "apply")]
    assert [step.verdict for step in report.patches[2].steps] == ["skipped"]


def test_does_not_build_in_the_middle(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/main.c"] = MAIN.replace("return 0", "return MISSING")
    report = kit.judge(kit.series())
    assert failures(report) == [(2, "build")]
    assert "main.c:4:16: error: " in reason(report, 2, "build")
    assert "MISSING" in reason(report, 2, "build")


def test_new_warning(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/main.c"] = "static int nobody(void) { return 1; }\n" + MAIN
    kit.changes[2][f"{FOLDER}/main.c"] = MAIN
    report = kit.judge(kit.series())
    assert failures(report) == [(2, "build")]
    assert "new warning: drivers/vfio/pci/neu/main.c:1:12: warning:" in reason(report, 2, "build")


def test_warning_belongs_to_the_patch_that_brings_it(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/main.c"] = "static int nobody(void) { return 1; }\n" + MAIN
    kit.changes[2][f"{FOLDER}/main.c"] = "static int nobody(void) { return 1; }\n" + BETTER
    assert failures(kit.judge(kit.series())) == [(2, "build")]


def test_second_of_a_known_warning(kit: Kit) -> None:
    text = kit.text("drivers/vfio/core.c")
    kit.changes[2]["drivers/vfio/core.c"] = text + text.replace("core(", "more(")
    assert failures(kit.judge(kit.series())) == [(3, "build")]


def test_checkpatch(kit: Kit) -> None:
    kit.changes[2][f"{FOLDER}/main.c"] = BETTER + "/* BAD_STYLE too bad */\n"
    report = kit.judge(kit.series())
    assert failures(report) == [(3, "checkpatch")]
    assert "ERROR: too bad" in reason(report, 3, "checkpatch")


def test_driver_without_an_option(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/Makefile"] = "obj-y += main.o\n"
    report = kit.judge(kit.series())
    assert failures(report) == [(2, "build")]
    assert "main is built although CONFIG_NEU is off" in reason(report, 2, "build")


def test_option_that_builds_nothing(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/Makefile"] = "obj-$(CONFIG_OTHER) += main.o\n"
    report = kit.judge(kit.series())
    assert failures(report) == [(2, "build")]
    assert "with CONFIG_NEU on nothing more is built" in reason(report, 2, "build")


def test_header_that_cannot_be_used(kit: Kit) -> None:
    kit.changes[0]["include/uapi/linux/vfio.h"] += "extern no_type x;\n"
    report = kit.judge(kit.series())
    assert (1, "headers") in failures(report)
    assert "does not compile alone, for user space" in reason(report, 1, "headers")


def test_file_of_nobody(kit: Kit) -> None:
    kit.changes[2]["nowhere/at/all.txt"] = "x\n"
    report = kit.judge(kit.series())
    assert failures(report) == [(3, "maintainers")]
    assert "nowhere/at/all.txt is new" in reason(report, 3, "maintainers")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("add a constant\n\nWhy.\n", "does not begin with a subsystem"),
        ("vfio: Add it.\n\nWhy.\n", "full stop"),
        ("vfio: Add it\n", "no text"),
        ("vfio: Add it\n\n" + SIGNED, "no text"),
        ("vfio: " + "a" * 80 + "\n\nWhy.\n", "86 characters"),
        ("vfio: Add it\n\nWhy.\n\nSigned-off-by: Ada\n", "expected a name and an address"),
    ],
)
def test_message(kit: Kit, message: str, words: str) -> None:
    kit.messages[0] = message
    report = kit.judge(kit.series())
    assert failures(report) == [(1, "message")]
    assert words in reason(report, 1, "message")


def test_empty_patch(kit: Kit) -> None:
    kit.changes[2] = {}
    series = kit.series()
    report = kit.judge(series)
    assert [number for number, _ in failures(report)] == [3]


def test_missing_signoff_is_a_note(kit: Kit) -> None:
    kit.messages[1] = "vfio/neu: Add a driver\n\nWhy.\n"
    series = kit.series()
    report = kit.judge(series)
    step = report.patches[1].step("message")
    assert step
    assert step.verdict == "noted"
    assert report.passed
    strict = gate.judge(replace(kit.request(series), signoff=True), lambda _line: None)
    assert failures(strict) == [(2, "message")]


# What it is given


def test_range_of_commits(kit: Kit) -> None:
    kit.series()
    kit.tree = kit.work
    before = snapshot(kit.work)
    report = kit.judge("HEAD~3..HEAD")
    assert failures(report) == []
    assert len(report.patches) == 3
    assert snapshot(kit.work) == before


def test_mailbox_with_a_reply(kit: Kit) -> None:
    kit.series()
    text = fake_source.git(kit.work, "format-patch", "--cover-letter", "--stdout", "-3")
    reply = "From x Mon Sep 17 00:00:00 2001\nFrom: R <r@example.org>\nDate: Mon, 1 Jan 2024\n"
    reply += "Subject: Re: [PATCH 1/3] vfio: Add a constant\n\nNice.\n\n"
    (kit.folder / "all.mbox").write_text(text + reply)
    report = kit.judge(kit.folder / "all.mbox")
    assert report.patches[0].subject == "vfio: Add a constant"
    assert len(report.patches) == 3
    assert report.passed


def test_on_the_base_that_the_series_names(kit: Kit) -> None:
    kit.series()
    kit.tree = kit.work
    target = kit.folder / "based"
    fake_source.git(kit.work, "format-patch", "-q", "--base=HEAD~3", "-o", str(target), "-3")
    assert kit.judge(target).passed, "HEAD already has the patches"


def test_unknown_series(kit: Kit) -> None:
    with pytest.raises(SeriesError, match="neither a folder of patches"):
        kit.judge("nothing")


def test_folder_without_patches(kit: Kit) -> None:
    (kit.folder / "empty").mkdir()
    with pytest.raises(SeriesError, match="has no patches"):
        kit.judge(kit.folder / "empty")


def test_range_of_a_plain_tree(kit: Kit) -> None:
    with pytest.raises(SeriesError, match="is not a git tree"):
        kit.judge("a..b")


def test_merge(kit: Kit) -> None:
    kit.series()
    fake_source.git(kit.work, "checkout", "-q", "-b", "side", "HEAD~2")
    (kit.work / "side").write_text("x")
    fake_source.git(kit.work, "add", "side")
    fake_source.git(kit.work, "commit", "-q", "-m", "side")
    fake_source.git(kit.work, "merge", "-q", "-m", "merge", "main")
    kit.tree = kit.work
    with pytest.raises(SeriesError, match="has a merge"):
        kit.judge("HEAD~3..HEAD")


def test_other_version(kit: Kit) -> None:
    path = kit.tree / "Makefile"
    path.write_text(path.read_text().replace("PATCHLEVEL = 12", "PATCHLEVEL = 1"))
    with pytest.raises(SourceTreeError, match=r"is Linux 6\.1\.9, and the kernel to build with"):
        kit.judge(kit.series())


def test_dirty(kit: Kit) -> None:
    series = kit.series()
    kit.tree = kit.work
    (kit.work / "MAINTAINERS").write_text("")
    with pytest.raises(SourceTreeError, match="not committed"):
        kit.judge(series)


def test_no_sparse(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(KernelTreeError, match="There is no sparse in this host"):
        gate.judge(replace(kit.request("x"), sparse=True), lambda _line: None)


def test_base_does_not_build(kit: Kit) -> None:
    path = kit.tree / "drivers/vfio/core.c"
    path.write_text("broken\n")
    with pytest.raises(Exception, match="does not build without patch 1"):
        kit.judge(kit.series())


# What it keeps, leaves and writes


def test_kept_until_it_changes(kit: Kit) -> None:
    series = kit.series()
    kit.judge(series)
    again = kit.judge(series)
    assert [patch.kept for patch in again.patches] == [True] * 3
    path = next(series.glob("0003-*"))
    path.write_text(path.read_text().replace("return 1", "return 2"))
    third = kit.judge(series)
    assert [patch.kept for patch in third.patches] == [True, True, False]
    assert third.passed


def test_failure_is_kept_too(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/main.c"] = "static int nobody(void) { return 1; }\n" + MAIN
    series = kit.series()
    first = kit.judge(series)
    again = kit.judge(series)
    assert failures(again) == failures(first) == [(2, "build")]
    step = again.patches[1].step("build")
    assert step
    assert "nobody" in Path(step.log).read_text()


def test_trees_are_only_read(kit: Kit) -> None:
    series = kit.series()
    before = snapshot(kit.tree), snapshot(kit.work)
    kit.judge(series)
    assert (snapshot(kit.tree), snapshot(kit.work)) == before


def test_interrupted(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    series, scratch = kit.series(), kit.folder / "scratch"
    scratch.mkdir()
    before = snapshot(kit.tree)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def interrupt(*_arguments: object, **_options: object) -> None:
        assert list(scratch.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(gate_patch, "steps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kit.judge(series)
    assert not list(scratch.iterdir())
    assert snapshot(kit.tree) == before


def test_files(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/main.c"] = MAIN.replace("return 0", "return MISSING")
    report = kit.judge(kit.series())
    gate_report.write(report, kit.folder / "out")
    data = json.loads((kit.folder / "out/gate.json").read_text())
    assert [one["verdict"] for one in data["patches"]] == ["passed", "failed", "passed"]
    suites = ET.parse(kit.folder / "out/junit.xml").getroot()  # noqa: S314 - our own file
    assert [suite.get("failures") for suite in suites] == ["0", "1", "0"]
    text = (kit.folder / "out/gate.md").read_text()
    assert "first at patch 2 (vfio/neu: Add a driver): build" in text
    assert "| **FAIL** |" in text


def test_command_line(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kpatch.kernel.tree.find", lambda *_arguments: kit.kernel)
    monkeypatch.setattr("conformance.gate.command.images.provide", lambda *_arguments: None)
    monkeypatch.setenv("VFIO_KIT_CACHE", str(kit.folder / "cache"))
    kit.messages[2] = "vfio/neu: Return more\n"
    argv = ["gate", str(kit.series()), "--tree", str(kit.tree), "--no-sparse"]
    assert main([*argv, "-o", str(kit.folder / "res")]) == 1
    out = capsys.readouterr().out
    assert "FAILED: 3 patches on Linux 6.12.9; first at patch 3 (vfio/neu: Return more)" in out
    assert (kit.folder / "res/junit.xml").exists()
    assert main(["gate", "nothing", "--tree", str(kit.tree), "--no-sparse"]) == 2


# The virtual machine, of which only the outcome matters here


@pytest.mark.parametrize(("status", "code"), [(0, 0), (1, 1), (3, 3), (4, 4), (5, 0)])
def test_boot(kit: Kit, monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    verdict: Verdict = "passed" if status == 0 else "skipped" if status == 5 else "failed"

    def judged(*_arguments: object) -> tuple[Step, int]:
        return Step("boot", verdict, "it says"), status

    driver = gate_boot.Subject("neu", kit.folder / "neu.ko", "igb-vf")
    monkeypatch.setattr(gate_boot, "subject", lambda *_: driver)
    monkeypatch.setattr(gate_boot, "stage", lambda *_: kit.folder)
    monkeypatch.setattr(gate_boot, "judge", judged)
    wanted = replace(kit.request(kit.series()), boot="tip")
    report = gate.judge(wanted, lambda _line: None)
    assert report.exit_code == code
    assert failures(report) == ([] if code == 0 else [(3, "boot")])


@pytest.mark.parametrize("traps", [False, True])
def test_trapped_registers_are_asked_of_the_finished_driver(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, traps: bool
) -> None:
    asked: list[bool] = []

    def judged(_subject: object, options: Options, *_rest: object) -> tuple[Step, int]:
        asked.append(options.trapped)
        return Step("boot", "passed"), 0

    driver = gate_boot.Subject("neu", kit.folder / "neu.ko", "igb-vf", traps)
    monkeypatch.setattr(gate_boot, "subject", lambda *_: driver)
    monkeypatch.setattr(gate_boot, "stage", lambda *_: kit.folder)
    monkeypatch.setattr(gate_boot, "judge", judged)
    gate.judge(replace(kit.request(kit.series()), boot="each"), lambda _line: None)
    assert asked == [traps, traps, True]


def test_no_driver_to_boot(kit: Kit) -> None:
    wanted = replace(kit.request(kit.series()), boot="tip")
    report = gate.judge(wanted, lambda _line: None)
    step = report.patches[2].step("boot")
    assert step
    assert step.verdict == "skipped"
    assert report.passed
