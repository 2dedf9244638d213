# SPDX-License-Identifier: GPL-2.0-only
"""Recorded runs, each named for its story, output again."""

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from conformance.events.stream import EventDecoder
from conformance.report import Conclusion, Reporter, Verdict, replay
from conformance.requirements import load

DATA = Path(__file__).with_name("data")
VERSIONS = {"qemu": "10.0.3", "image": "trixie", "module": "igb_vf_vfio_pci 6.12.117"}
CONSOLE = ("[   15.0] BUG: kernel NULL pointer dereference", "[   15.1] Kernel panic - not syncing")
PANIC = Verdict.kernel_died("the kernel panicked", CONSOLE)


class Printed:
    """A story, reported: exit code, what was printed, the folder."""

    def __init__(self, folder: Path, story: str, verdict: Verdict | None = None) -> None:
        self.folder = folder
        out = io.StringIO()
        reporter = Reporter(folder, out, requirements=load(), versions=VERSIONS)
        self.code = replay(DATA / f"{story}.jsonl", reporter, verdict)
        self.text = out.getvalue()
        self.json: dict[str, Any] = json.loads((folder / "results.json").read_text())
        self.xml = ET.fromstring((folder / "junit.xml").read_text())  # noqa: S314 - our own
        self.ktap = (folder / "report.ktap").read_text()

    def rule(self, rule: str) -> str:
        return str(self.json["rules"][rule]["verdict"])

    def test(self, test: str) -> str:
        return str(next(t["outcome"] for t in self.json["tests"] if t["id"] == test))


def test_all_pass(tmp_path: Path) -> None:
    output = Printed(tmp_path, "all-pass")
    assert output.code == 0
    assert output.json["verdict"]["conclusion"] == "conforms"
    assert output.rule("saving.refuse") == output.rule("state.readback") == "passed"
    assert output.rule("saving.accept") == "not-tested"
    assert output.json["versions"]["kernel"] == "6.12.117+deb13-amd64"
    assert output.json["versions"]["qemu"] == "10.0.3"
    assert "tests: 3 passed, 0 failed in 1.9 s" in output.text
    assert "for 0000:01:10.0 (8086:10ca) with igb_vf_vfio_pci" in output.text
    heard, kept = (
        list(EventDecoder().feed(path.read_bytes()))
        for path in (DATA / "all-pass.jsonl", tmp_path / "events.jsonl")
    )
    assert heard == kept


def test_one_failure_is_reported_in_full(tmp_path: Path) -> None:
    output = Printed(tmp_path, "one-failure")
    assert output.code == 1
    assert output.json["verdict"]["reason"] == "1 MUST rule failed"
    assert output.rule("saving.refuse") == "failed"  # although another test of it passed
    block = output.text.partition("FAILED  saving.refuse")[2]
    for said in (
        load()["saving.refuse"].text.split()[0],
        "MUST",
        "SPARSE_MMAP_SAVING proposal",
        "mapped BAR 0 0x0+0x4000, then wrote device_state 3",
        "EBUSY, and device_state still 1",
        "the write succeeded",
        "VFIO calls (last 20 of 33):",
        "device_state <- 3 (_RUNNING|_SAVING) = 4",
        "saving with 1 conflicting mapping",
    ):
        assert said in block
    assert "mmap BAR 0 0x0+0x100 " not in block  # the beginning of a long list stays in the files


def test_one_failure_in_junit(tmp_path: Path) -> None:
    output = Printed(tmp_path, "one-failure")
    assert output.xml.attrib["failures"] == "1"
    assert output.xml.attrib["errors"] == "0"
    case = output.xml.find(".//testcase[@name='test_saving.py::test_refuse[1->3]']")
    assert case is not None
    rule = case.find("properties/property[@name='rule']")
    assert rule is not None
    assert rule.attrib["value"] == "saving.refuse"
    failure = case.find("failure")
    assert failure is not None
    assert "outside the saving areas" in failure.attrib["message"]


def test_a_failed_should_fails_the_run_and_is_called_by_its_level(tmp_path: Path) -> None:
    output = Printed(tmp_path, "should-failure")
    assert output.code == 1
    assert "does not conform: 1 SHOULD rule failed" in output.text


def test_panic_in_test(tmp_path: Path) -> None:
    output = Printed(tmp_path, "panic-in-test", PANIC)
    assert output.code == 3
    assert output.test("test_state.py::test_reset[4]") == "running"
    assert output.test("test_resume.py::test_abort") == "not-run"
    assert output.rule("state.reset") == "not-tested"
    assert output.rule("region.type") == "passed"
    assert "RUNNING  test_state.py::test_reset[4]" in output.text
    assert "Kernel panic - not syncing" in output.text
    assert "the kernel died: the kernel panicked" in output.text
    assert output.xml.attrib["failures"] == "0"
    assert output.xml.attrib["errors"] == "2"  # the test, and the run itself
    assert "not ok 2 test_state.py::test_reset[4]" in output.ktap
    assert "ok 1 test_resume.py::test_abort # SKIP not run: kernel-died" in output.ktap


def test_a_long_console_is_shown_from_the_cause_on(tmp_path: Path) -> None:
    console = ("BUG: the cause", *(f"line {number}" for number in range(100)), "end")
    output = Printed(tmp_path, "panic-in-test", Verdict.kernel_died("it panicked", console))
    assert "BUG: the cause" in output.text
    assert "    end\n" in output.text


def test_failures_before_a_panic_do_not_turn_it_into_a_failed_requirement(tmp_path: Path) -> None:
    output = Printed(tmp_path, "one-failure", PANIC)
    assert output.code == 3
    assert output.rule("saving.refuse") == "failed"


def test_hang(tmp_path: Path) -> None:
    output = Printed(tmp_path, "hang", Verdict.kernel_died("the guest said nothing for 60 s"))
    assert output.code == 3
    assert output.json["counts"]["tests"]["not-run"] == 86  # known by number only
    assert "86 not run, 1 running" in output.text


def test_truncated_is_not_taken_for_the_end(tmp_path: Path) -> None:
    output = Printed(tmp_path, "truncated")
    assert output.code == 4
    assert "the stream ends inside a line" in output.json["verdict"]["reason"]


def test_a_kernel_which_died_in_the_middle_of_a_line_died(tmp_path: Path) -> None:
    assert Printed(tmp_path, "truncated", PANIC).code == 3


def test_interrupt_leaves_whole_files(tmp_path: Path) -> None:
    output = Printed(tmp_path, "interrupt", Verdict.interrupted())
    assert output.code == 130
    assert output.json["counts"]["tests"] == {
        "passed": 1,
        "failed": 0,
        "error": 0,
        "skipped": 0,
        "not-applicable": 0,
        "running": 1,
        "not-run": 1,
    }
    assert output.ktap.endswith("not ok 3 run\n")
    assert not list(tmp_path.glob(".*.part"))


def test_a_run_which_just_stops_did_not_conform(tmp_path: Path) -> None:
    output = Printed(tmp_path, "interrupt")
    assert output.code == 4
    assert "the suite never ended" in output.text


def test_skipped_musts_are_loud_and_grouped(tmp_path: Path) -> None:
    output = Printed(tmp_path, "skips")
    assert output.code == 0
    assert output.rule("resume.round-trip") == "skipped"
    assert output.rule("save.width-free") == "passed"  # skipped in one way, judged in another
    assert output.json["rules"]["resume.round-trip"]["skipped_because"] == [
        "no second function: give --vfio-peer"
    ]
    loud = output.text.partition("SKIPPED  2 MUST rules not judged:")[2]
    assert "resume.same-chunks resume.round-trip" in loud
    assert loud.count("no second function") == 1
    assert "save.repeatable" not in loud.partition("NOT TESTED")[0]  # a SHOULD
    assert "# SKIP no second function" in output.ktap


def test_free_outcomes_are_folded_by_family(tmp_path: Path) -> None:
    output = Printed(tmp_path, "free")
    assert output.code == 0
    assert "arc-free refused 0-3 0-4; accepted 3-0" in output.text
    assert "outside zero" in output.text
    assert output.json["rules"]["state.arc-free.3-0"]["observed"] == ["accepted"]
    assert output.json["rules"]["state.arc-free.4-3"]["observed"] == []


def test_module_not_loaded_shows_the_kernel_log(tmp_path: Path) -> None:
    output = Printed(tmp_path, "module-not-loaded")
    assert output.code == 4
    assert "disagrees about version of symbol" in output.text
    assert "the lab failed, the driver was not judged" in output.text
    assert output.ktap.count("not ok") == 1


def test_module_not_loaded_may_be_the_drivers_fault(tmp_path: Path) -> None:
    fault = Verdict(Conclusion.REQUIREMENT_FAILED, "the driver could not be loaded")
    output = Printed(tmp_path, "module-not-loaded", fault)
    assert output.code == 1
    assert "does not conform: the driver could not be loaded" in output.text
    assert output.xml.attrib["failures"] == "1"
    assert output.ktap.endswith("not ok 1 run\n")


def test_error_is_not_the_drivers_failure_in_junit(tmp_path: Path) -> None:
    output = Printed(tmp_path, "error")
    assert output.code == 1
    assert output.rule("state.default") == "failed"
    assert output.xml.attrib["errors"] == "1"
    assert "ERROR  state.default" in output.text


def test_control_characters_of_the_guest_reach_nobody(tmp_path: Path) -> None:
    output = Printed(tmp_path, "error")
    files = (output.text, output.ktap, (tmp_path / "junit.xml").read_text())
    assert not any("\x1b" in text or "\x07" in text for text in files)
    assert r"\x1b[31mcolour" in output.text


@pytest.mark.parametrize("story", sorted(path.stem for path in DATA.glob("*.jsonl")))
@pytest.mark.parametrize(
    "verdict", [None, PANIC, Verdict.interrupted()], ids=["", "panic", "ctrl-c"]
)
def test_every_story_leaves_all_files(tmp_path: Path, story: str, verdict: Verdict | None) -> None:
    output = Printed(tmp_path, story, verdict)
    assert output.json["schema"] == 1
    assert output.json["rules"].keys() == load().keys()
    assert output.json["verdict"]["exit_code"] == output.code
    assert output.ktap.startswith("KTAP version 1\n1..")
    tests = len(output.json["tests"])
    assert len(output.xml.findall(".//testcase[@classname!='conformance.run']")) == tests
