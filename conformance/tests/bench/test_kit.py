# SPDX-License-Identifier: GPL-2.0-only
"""How long a check takes: what is run, and what is made of the seconds."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from conformance.bench import kit
from conformance.bench.kit import Side
from conformance.errors import LabError, UsageError
from conformance.running import paths
from kpatch.device import load as devices
from kpatch.tools import programs

DESCRIPTION = devices.FOLDER / "igb-vf.toml"


class Runs:
    """The checks that are run, which take no time."""

    def __init__(self) -> None:
        self.argv: list[list[str]] = []
        self.summaries: list[str] = []
        self.names: list[str] = []
        self.old = ""
        self.status = 0

    def __call__(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if self.old and argv[:2] == ["git", "archive"]:
            return self._archive(Path(argv[3].partition("=")[2]))
        if argv[0] == "git":
            return subprocess.run(argv, cwd=paths.KIT, check=False, capture_output=True, text=True)
        self.argv.append(argv)
        device = devices.load(Path(argv[4]))
        self.summaries.append(device.summary)
        self.names.append(device.name)
        into = Path(argv[argv.index("--into") + 1])
        results = {"timings": {"boot": 2.5}, "counts": {"tests": {"passed": 7}}}
        (into / "results.json").write_text(json.dumps(results))
        return subprocess.CompletedProcess(argv, self.status, "a line\n", "the last line\n")

    def _archive(self, target: Path) -> subprocess.CompletedProcess[str]:
        """Write an archive of a kit that has one description, the old one."""
        content = self.old.encode()
        entry = tarfile.TarInfo(str(DESCRIPTION.relative_to(paths.KIT)))
        entry.size = len(content)
        with tarfile.open(target, "w") as tar:
            tar.addfile(entry, io.BytesIO(content))
        return subprocess.CompletedProcess([], 0, "", "")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(programs, "run", found)
    return found


def test_each_check_has_a_driver_of_its_own_and_the_sides_take_turns(runs: Runs) -> None:
    said: list[str] = []
    lines = kit.measure(DESCRIPTION, "trixie", "", 2, said.append)
    assert len(set(runs.summaries)) == len(runs.summaries) == 8
    options = [tuple(argv[argv.index("--into") + 2 :]) for argv in runs.argv[2:]]
    assert options[:3] == [(), ("--guests", "1"), ("--cold", "--rule", "region.type")]
    assert options[3:] == options[:3]
    assert "cold boot to the prompt: 2.5 s" in "\n".join(said)
    assert len(lines) == 4


def test_check_that_does_not_conform_is_not_measured(runs: Runs) -> None:
    runs.status = 1
    with pytest.raises(LabError, match="the last line"):
        kit.measure(DESCRIPTION, "trixie", "", 1, print)


@pytest.mark.usefixtures("runs")
def test_commit_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no commit"):
        kit.measure(DESCRIPTION, "trixie", "no-such-commit", 1, print)


def test_other_commit_is_measured_with_its_own_description(runs: Runs) -> None:
    runs.old = DESCRIPTION.read_text("utf-8").replace("Intel", "Old Intel")
    runs.old = runs.old.replace('name = "igb-vf"', 'name = "old-igb"')
    kit.measure(DESCRIPTION, "trixie", "a-commit", 1, print)
    assert [name for name in runs.names if name == "old-igb"] == ["old-igb"] * 2
    assert runs.names[-1] == "old-igb"


def test_ratio_is_of_medians_with_the_extremes_of_the_rounds() -> None:
    sides = [
        Side("new", Path(), seconds=[2.0, 4.0, 3.0]),
        Side("old", Path(), seconds=[4.0, 5.0, 12.0]),
    ]
    assert kit.table(sides)[-1].split() == ["old", "0.60", "(0.25", "to", "0.80)"]


def test_ratio_for_each_test_is_printed_where_there_are_more() -> None:
    sides = [
        Side("new", Path(), seconds=[2.0], tests=1000),
        Side("same", Path(), seconds=[4.0], tests=1000),
        Side("boot", Path(), step="boot", seconds=[4.0]),
        Side("old", Path(), seconds=[2.0], tests=500),
    ]
    *_, boot, old, each = kit.table(sides)
    assert "boot" in boot
    assert "1.00" in old
    assert each.split("  ")[-1] == "(1000 tests, 2 ms; 500 tests, 4 ms)"
    assert "0.50" in each
