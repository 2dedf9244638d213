# SPDX-License-Identifier: GPL-2.0-only
"""The matrix: which cells there are, what becomes of them, and what is expected of it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml, Skipped

from conformance.__main__ import main
from conformance.errors import ImageError, UnknownImage
from conformance.lab.check import prepare
from conformance.lab.check.prepare import Options
from conformance.lab.image import image
from conformance.matrix import cells as matrix
from conformance.matrix import report as matrix_report
from conformance.matrix import run as matrix_run
from conformance.matrix.cells import Cell, Column, State
from conformance.matrix.command import Progress
from conformance.report.terminal.output import Output
from conformance.report.text import Style
from conformance.running.steps import Steps

BOTH = [Column("trixie", "trixie"), Column("bookworm", "bookworm")]
UNKNOWN = """\
schema = 1
name = "unknown-nic"
summary = "Nobody has it"
transport = "pci"
ids = [{ vendor = 0x1234, device = 0x5678 }]
[[bar]]
index = 0
size = 0x4000
[migration]
data_size = 0x1000
data_mmap = true
bus_master_stops = true
state = [{ name = "R", bar = 0, offset = 0x10 }]
"""
RESULTS: dict[str, Any] = {
    "verdict": {"reason": "1 MUST rule failed"},
    "versions": {"kernel": "6.12.0-test"},
    "counts": {"rules": {"passed": 5, "failed": 1}, "tests": {}},
    "rules": {"save.offset": {"verdict": "failed"}, "save.stable": {"verdict": "passed"}},
}


class Quiet:
    def __init__(self) -> None:
        self.most = 0

    def began(self, cell: Cell) -> None:
        pass

    def goes_on(self, running: Sequence[tuple[Cell, str]]) -> None:
        self.most = max(self.most, len(running))

    def ended(self, cell: Cell) -> None:
        pass


def cells() -> list[Cell]:
    return matrix.plan(["igb-vf"], BOTH, Options())


def test_every_device_on_every_kernel_of_a_distribution() -> None:
    columns = matrix.columns([], [], "trixie")
    names = [column.name for column in columns]
    assert {"bookworm", "trixie", "trixie-backports"} <= set(names)
    assert "debug" not in names
    found = matrix.plan([], columns, Options())
    assert {"igb-vf", "i40e-vf"} <= {cell.device for cell in found}
    assert len(found) == len({cell.name for cell in found})


def test_trees_have_names_of_their_own(tmp_path: Path) -> None:
    for path in ("a/linux", "b/linux"):
        (tmp_path / path).mkdir(parents=True)
    found = matrix.columns(["trixie"], [tmp_path / "a/linux", tmp_path / "b/linux"], "bookworm")
    assert [one.name for one in found] == ["trixie", "linux", "linux-2"]
    assert [one.image for one in found] == ["trixie", "bookworm", "bookworm"]


def test_unknown_image() -> None:
    with pytest.raises(UnknownImage):
        matrix.columns(["buster"], [], "trixie")


def test_a_device_without_a_machine_leaves_its_cells_empty(tmp_path: Path) -> None:
    description = tmp_path / "unknown-nic.toml"
    description.write_text(UNKNOWN)
    found = matrix.plan([str(description), "igb-vf"], BOTH, Options())
    assert [cell.request is None for cell in found] == [True, True, False, False]
    assert found[0].state is State.NOT_RUN
    assert "No machine of the lab has the device unknown-nic" in found[0].reason
    assert [one["device"] for one in matrix_report.include(found)["include"]] == ["igb-vf"] * 2


def test_a_qemu_that_is_too_old_leaves_a_cell_empty() -> None:
    one = cells()[0]
    assert matrix.with_emulator(one, "1:10.0.8+ds-0+deb13u1").request
    old = matrix.with_emulator(one, "1:7.2+dfsg-7+deb12u18")
    assert old.request is None
    assert old.exit_code == 0
    assert "needs QEMU 8.0 or later, and the image trixie has 7.2" in old.reason


def test_a_stranger_is_a_row_and_its_kernel_may_be_too_old() -> None:
    found = matrix.plan([], BOTH, Options(), ["xe"])
    assert [cell.name for cell in found] == [f"xe-{column.name}" for column in BOTH]
    words = matrix_run.argv(found[0], Path("r"), [])
    assert words[words.index("check") + 1 :][:2] == ["--stranger", "xe"]
    assert matrix_report.include(found)["include"][0]["stranger"] == "xe"
    assert matrix.with_kernel(found[0], "7.3.4+deb13-amd64").request
    old = matrix.with_kernel(found[0], "6.12.118+deb13-amd64")
    assert old.request is None
    assert old.reason == "xe is in Linux 7.0 and later, not in 6.12.118+deb13-amd64"


@pytest.mark.parametrize(
    ("extra", "expected"),
    [([], "not walk"), (["--cold", "-k", "load or save"], "(load or save) and not walk")],
)
def test_a_driver_of_the_kernel_is_judged_without_walks(extra: list[str], expected: str) -> None:
    columns = matrix.columns(["trixie"], [], "trixie")
    (found,) = matrix.plan([], columns, Options(), ["mtty"], ["v2"])
    words = matrix_run.argv(found, Path("r"), extra)
    assert words[words.index("-k") + 1] == expected
    assert words.count("-k") == 1


def test_devices_and_strangers_together() -> None:
    found = matrix.plan(["igb-vf"], BOTH[:1], Options(), ["mtty"])
    assert [cell.device for cell in found] == ["igb-vf", "mtty"]


def test_an_image_that_cannot_be_made_fails_its_cells_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def provide(definition: Any, _steps: Steps) -> Any:
        asked.append(definition.name)
        if definition.name == "bookworm":
            raise ImageError("The image bookworm cannot be made: no network.")
        return image.Image(definition, Path("/nowhere"))

    monkeypatch.setattr(image, "provide", provide)
    manifest = {"qemu": "1:10.0", "kernel": "6.12.118+deb13-amd64"}
    monkeypatch.setattr(image.Image, "manifest", manifest)
    good, bad = matrix_run.with_images(cells(), Steps(print))
    assert good.request
    assert bad.request is None
    assert (bad.state, bad.exit_code) == (State.LAB_FAILED, 4)
    assert "no network" in bad.reason
    assert sorted(asked) == ["bookworm", "trixie"]


SCRIPT = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
kind = sys.argv[2]
print("last words")
if kind == "slow":
    time.sleep(60)
if kind in "0134":
    results = {"verdict": {"reason": "why " + kind}, "counts": {"rules": {"passed": 1}},
               "rules": {}, "versions": {}}
    (folder / "results.json").write_text(json.dumps(results))
    time.sleep(0.3)
    sys.exit(int(kind))
sys.exit(7 if kind == "crash" else 2 if kind == "usage" else 0)
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cell.py"
    path.write_text(SCRIPT)

    def argv(cell: Cell, folder: Path, _extra: Sequence[str]) -> list[str]:
        return ["python3", str(path), str(folder), cell.column.name]

    monkeypatch.setattr(matrix_run, "argv", argv)
    results = tmp_path / "results"
    results.mkdir()
    return results


def kinds(*names: str) -> list[Cell]:
    return matrix.plan(["igb-vf"], [Column(name, "trixie") for name in names], Options())


def test_one_cell_never_stops_the_others(script: Path) -> None:
    watcher = Quiet()
    found = matrix_run.run(kinds("0", "1", "crash", "3", "4", "usage", "none"), script, 2, watcher)
    assert [(cell.column.name, cell.state, cell.exit_code) for cell in found] == [
        ("0", State.CONFORMS, 0),
        ("1", State.DOES_NOT_CONFORM, 1),
        ("crash", State.LAB_FAILED, 4),
        ("3", State.KERNEL_DIED, 3),
        ("4", State.LAB_FAILED, 4),
        ("usage", State.NOT_RUN, 2),
        ("none", State.LAB_FAILED, 4),
    ]
    assert found[1].reason == "why 1"
    assert "status 7: last words" in found[2].reason
    assert "left no results" in found[6].reason
    assert watcher.most == 2
    assert matrix.exit_code(found) == 3


def test_an_interrupt_ends_what_runs_and_keeps_what_is_known(script: Path) -> None:
    class Impatient(Quiet):
        def goes_on(self, running: Sequence[tuple[Cell, str]]) -> None:
            if [cell.column.name for cell, _ in running] == ["slow"]:
                raise KeyboardInterrupt

    found = matrix_run.run(kinds("0", "slow", "1"), script, 1, Impatient())
    assert [cell.state for cell in found] == [State.CONFORMS, State.NOT_RUN, State.NOT_RUN]
    assert found[2].reason == "interrupted"
    assert matrix.exit_code(found) == 130


@pytest.mark.parametrize(
    ("codes", "worst"),
    [((0, 0), 0), ((0, 4, 1), 1), ((4, 1, 3), 3), ((0, 2), 2), ((4, 2), 4), ((130, 3), 130)],
)
def test_the_worst_cell_decides(codes: tuple[int, ...], worst: int) -> None:
    found = []
    for code in codes:
        state = matrix.STATES.get(code, State.NOT_RUN)
        found.append(replace(cells()[0], state=state, exit_code=code))
    assert matrix.exit_code(found) == worst


def test_a_matrix_in_which_nothing_ran_is_no_success() -> None:
    assert matrix.exit_code([cell.empty("no machine") for cell in cells()]) == 2
    assert matrix.exit_code([]) == 2


def judged(tmp_path: Path) -> list[Cell]:
    first, second = cells()
    own = tmp_path / first.name
    own.mkdir()
    (own / "junit.xml").write_text(
        '<testsuites><testsuite name="save" tests="1"><testcase name="t" classname="c"/>'
        "</testsuite></testsuites>"
    )
    failed = replace(first, folder=own, results=RESULTS, exit_code=1, reason="1 MUST rule failed")
    return [replace(failed, state=State.DOES_NOT_CONFORM), second.empty("QEMU is too old")]


def test_table(tmp_path: Path) -> None:
    text = "\n".join(matrix_report.table(judged(tmp_path), Style(False)))
    assert text.splitlines()[:3] == [
        "        trixie                    bookworm",
        "        6.12.0-test",
        "igb-vf  does not conform 5/6 (1)  not run (2)",
    ]
    assert "(1) igb-vf on trixie: does not conform: 1 MUST rule failed (save.offset)" in text
    assert "(2) igb-vf on bookworm: not run: QEMU is too old" in text


def test_files(tmp_path: Path) -> None:
    matrix_report.write(tmp_path, judged(tmp_path))
    found = json.loads((tmp_path / "matrix.json").read_text())
    assert found["exit_code"] == 1
    one, two = found["cells"]
    assert (one["state"], one["failed"], one["folder"]) == (
        "does not conform",
        ["save.offset"],
        "igb-vf-trixie",
    )
    assert (two["state"], two["reason"], two["kernel"]) == ("not run", "QEMU is too old", None)
    assert (
        "| igb-vf | does not conform 5/6 (1) | not run (2) |"
        in (tmp_path / "matrix.md").read_text()
    )
    suites = list(JUnitXml.fromfile(str(tmp_path / "junit.xml")))
    assert [suite.name for suite in suites] == ["igb-vf-trixie.save", "igb-vf-bookworm"]
    (case,) = suites[1]
    assert isinstance(case.result[0], Skipped)


def test_list_for_a_ci(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["matrix", "--device=igb-vf", "--protocol=v2", "--image=trixie", "--list-json"]) == 0
    )
    (one,) = json.loads(capsys.readouterr().out)["include"]
    assert (one["device"], one["image"], one["name"]) == ("igb-vf", "trixie", "igb-vf-v2-trixie")
    assert one["protocol"] == "v2"


def test_a_row_for_each_version_of_the_protocol() -> None:
    found = matrix.plan(["igb-vf"], BOTH[:1], Options(), protocols=("v1", "v2"))
    assert [cell.row for cell in found] == ["igb-vf v1", "igb-vf v2"]
    assert len({cell.name for cell in found}) == len(found)


def test_a_row_for_a_driver_of_both_versions_judged_by_each() -> None:
    found = matrix.plan(["igb-vf"], BOTH[:1], Options(), protocols=("v1", "v2"), both=True)
    rows = ["igb-vf v1", "igb-vf v2", "igb-vf both v1", "igb-vf both v2"]
    assert [cell.row for cell in found] == rows
    assert len({cell.name for cell in found}) == len(found)
    words = matrix_run.argv(found[3], Path("r"), [])
    assert words[words.index("igb-vf") + 1 :][:3] == ["--protocol", "v2", "--both"]
    shown = matrix_report.include(found)["include"]
    assert [one.get("both") for one in shown] == [None, None, "--both", "--both"]


def test_dry_run_prints_commands(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["matrix", "--device", "igb-vf", "--image", "trixie", "--protocol", "v1"]
    words += ["--dry-run", "--rule", "save"]
    assert main(words) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "check igb-vf --protocol v1 --image trixie" in line
    assert line.endswith(" --into results/igb-vf-v1-trixie --rule save")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--image", "buster"], "There is no image 'buster'"),
        (["--device", "igb"], "description 'igb'"),
        (["--kernel-tree", "/nowhere"], "There is no kernel tree /nowhere."),
        (["--rule", "no.such"], "There is no rule 'no.such'"),
    ],
)
def test_what_does_not_exist_is_usage(
    words: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["matrix", *words]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_too_old_reads_versions_of_packages() -> None:
    request = cells()[0].request
    assert request
    assert prepare.too_old(request, "1:8.0~rc1") == ""
    assert prepare.too_old(request, "unknown") == ""
    assert prepare.too_old(request, "7.2.1")


def test_progress_in_a_log_is_lines() -> None:
    out = io.StringIO()
    progress = Progress(Output(out), 2)
    one = cells()[0]
    progress.began(one)
    progress.goes_on([(one, "[1/2]")])
    progress.ended(replace(one, state=State.CONFORMS, seconds=3.0))
    assert out.getvalue().splitlines() == [
        "igb-vf on trixie ...",
        "[1/2] igb-vf on trixie: conforms, 3 s",
    ]
