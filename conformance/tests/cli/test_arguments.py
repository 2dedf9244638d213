# SPDX-License-Identifier: GPL-2.0-only
"""The command line names the device in either of two ways."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conformance.__main__ import main
from conformance.cli.arguments import parse
from conformance.lab.check import run as lab
from conformance.lab.check.prepare import LabRequest
from conformance.running import paths


@pytest.mark.parametrize("command", ["check", "shell"])
@pytest.mark.parametrize(
    ("words", "device"),
    [
        ([], "igb-vf"),
        (["i40e-vf"], "i40e-vf"),
        (["--device", "i40e-vf"], "i40e-vf"),
        (["--image", "bookworm", "--device", "i40e-vf"], "i40e-vf"),
    ],
)
def test_device_is_the_one_that_was_named(command: str, words: list[str], device: str) -> None:
    assert parse([command, *words]).device == device


def test_the_command_line_is_read_with_the_standard_library_alone() -> None:
    # The doctor, and what says that a package is missing, must run where nothing is installed.
    script = "from conformance.cli.arguments import parse; parse(['check']); import sys; "
    script += "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    argv = [sys.executable, "-S", "-c", script]
    said = subprocess.run(argv, cwd=paths.KIT, capture_output=True, text=True, check=True).stdout
    assert set(said.split()) == {"conformance", "__main__"} - sys.stdlib_module_names


@pytest.mark.parametrize(
    "words", [["--stranger", "mtty"], ["--module", "x.ko"], ["--bdf", "0000:3b:02.0"]]
)
def test_both_is_about_what_is_rendered(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["check", "--both", *words])
    assert f"omit {words[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e999", "many", ""])
@pytest.mark.parametrize(
    "words",
    [
        ["check", "--quiet"],
        ["check", "--walks"],
        ["check", "--guests"],
        ["run", "--device", "x", "--quiet"],
        ["matrix", "--jobs"],
        ["mutants", "--quiet"],
        ["mutants", "--jobs"],
        ["mutants", "--guests"],
        ["mutants", "--sample"],
        ["mutants", "--operators"],
    ],
)
def test_numbers_that_cannot_be(words: list[str], value: str) -> None:
    """Of a time of zero a guest would count as hung, which is a verdict on its kernel."""
    with pytest.raises(SystemExit, match="2"):
        parse([*words, value])


class Judged:
    """What would be judged, where the results would be, and how each ends."""

    def __init__(self) -> None:
        self.codes = iter((0, 0))
        self.seen: list[tuple[LabRequest, Path]] = []

    def __call__(self, request: LabRequest, results: Path, *_: object) -> int:
        self.seen.append((request, results))
        return next(self.codes)

    @property
    def by(self) -> list[str | None]:
        return [one.options.protocol for one, _ in self.seen]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judged:
    made = Judged()
    monkeypatch.setattr(lab, "check", made)
    return made


@pytest.mark.parametrize(
    ("codes", "number", "worst"),
    [((0, 0), 2, 0), ((1, 0), 2, 1), ((4, 3), 2, 3), ((130, 0), 1, 130)],
)
def test_a_driver_of_both_versions_is_judged_by_each(
    judged: Judged,
    tmp_path: Path,
    codes: tuple[int, int],
    number: int,
    worst: int,
) -> None:
    judged.codes = iter(codes)
    assert main(["check", "igb-vf", "--both", "-o", str(tmp_path)]) == worst
    assert judged.by == ["v1", "v2"][:number]
    assert {one.protocols for one, _ in judged.seen} == {("v1", "v2")}
    assert len({results for _, results in judged.seen}) == number


def test_a_driver_of_both_versions_is_judged_by_one(judged: Judged, tmp_path: Path) -> None:
    words = ["check", "igb-vf", "--both", "--protocol", "v2", "-o", str(tmp_path)]
    assert main(words) == 0
    assert judged.by == ["v2"]
    assert judged.seen[0][0].protocols == ("v1", "v2")


@pytest.mark.parametrize("words", [["--device", "emulated"], ["--protocol", "v2"]])
def test_mutants_that_are_planned_name_their_driver(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mutants", *words]) == 2
    assert "go with --operators: each mutant names its own" in capsys.readouterr().err


def test_operator_mutants_are_of_any_driver() -> None:
    asked = parse(["mutants", "--operators", "3", "--device", "emulated", "--protocol", "v2"])
    assert (asked.operators, asked.device, asked.protocol) == (3, "emulated", "v2")
    assert (parse(["mutants"]).device, parse(["mutants"]).protocol) == ("igb-vf", None)
