# SPDX-License-Identifier: GPL-2.0-only
"""What is asked of the command line and does not exist, and modules not fit to be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.__main__ import main
from conformance.errors import LabError, UsageError
from conformance.lab.check import driver
from conformance.lab.check.prepare import Options, look_up
from conformance.lab.image import definitions
from conformance.running import paths
from conformance.running.steps import Steps
from kpatch.errors import ModuleFileError
from kpatch.module import diagnosis
from kpatch.module import info as module
from kpatch.module.finding import Finding

ANY: Any = None


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "igb"], "description 'igb'"),
        (["check", "--image", "buster"], "There is no image 'buster'. Known images: "),
        (["check", "--kernel-tree", "/nowhere"], "There is no kernel tree /nowhere."),
        (["check", "--module", "/nowhere.ko"], "/nowhere.ko cannot be read"),
        (["check", "--rule", "no.such"], "There is no rule 'no.such'"),
        (["image", "buster"], "There is no image 'buster'"),
        (["shell", "./none.toml"], "none.toml"),
    ],
)
def test_what_does_not_exist_is_usage(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(words) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "words", [["check", "--no-such-option"], ["nonsense"], [], ["list", "--", "-k", "x"]]
)
def test_wrong_options_are_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_description_with_mistakes_lists_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text('schema = 1\nname = "x"\ncolour = "red"\n')
    assert main(["check", str(tmp_path / "mine.toml")]) == 2
    said = capsys.readouterr().err
    assert "colour" in said
    assert "migration" in said


def test_guest_with_a_slow_kernel_may_be_silent_longer() -> None:
    usual, slow = (look_up(Options(image=name, quiet=10)) for name in ("trixie", "debug"))
    assert usual.options.quiet == 10
    assert slow.options.quiet == 10 * definitions.image("debug").patience > 10


def test_devices_tell_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    assert "igb-vf  8086:10ca" in capsys.readouterr().out


def test_list_has_each_rule_with_its_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("saving.refuse "))
    assert "MUST" in line
    assert not line.endswith("tests: 0")


def test_output_to_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "devices"],
        cwd=paths.KIT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.stderr == ""


def test_dry_run_without_image_prints_how_it_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("mmdebstrap --mode=auto" in line for line in lines)
    assert lines[-1].startswith("# ")
    assert not paths.cache().exists()


def finding(level: Any) -> Finding:
    return Finding(level, "symbols", "It wants x.", "Nobody has x.", "Add x.")


@pytest.mark.parametrize(("foreign", "error"), [(True, UsageError), (False, LabError)])
def test_module_with_a_problem_is_not_loaded(
    foreign: bool, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read", lambda _: ANY)
    monkeypatch.setattr(diagnosis, "diagnose", lambda *_: [finding("ok"), finding("problem")])

    class Kernel:
        tree = None
        release = "6.12"

    kernel: Any = Kernel()
    with pytest.raises(error, match=r"not fit to be loaded by Linux 6\.12.*\n  It wants x\. "):
        driver.inspect(Path("x.ko"), kernel, Steps(lambda _: None), foreign=foreign)


def test_warning_about_a_module_does_not_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "read", lambda _: "info")
    monkeypatch.setattr(diagnosis, "diagnose", lambda *_: [finding("warning"), finding("note")])

    class Kernel:
        tree = None
        release = "6.12"

    kernel: Any = Kernel()
    said: list[str] = []
    found: Any = driver.inspect(Path("x.ko"), kernel, Steps(said.append), foreign=True)
    assert found == "info"
    assert said == ["x.ko: It wants x. Nobody has x. Add x."]


def test_file_that_is_no_module_is_reported_first(tmp_path: Path) -> None:
    (tmp_path / "x.ko").write_text("text")
    with pytest.raises(ModuleFileError):
        look_up(Options(module=tmp_path / "x.ko"))
