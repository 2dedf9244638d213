# SPDX-License-Identifier: GPL-2.0-only
"""The command line tells what happened, by words and exit code, and never by a traceback."""

from __future__ import annotations

import errno
import os
import platform
import re
from pathlib import Path

import pytest

from kpatch import __main__ as cli
from kpatch.device import load as device
from kpatch.tests.kernel.fake_tree import RELEASE, make_root, make_tree
from kpatch.tests.kernel.tiny_elf import module
from kpatch.tests.module.modules import IMPORTS, INFO, info_with


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, output and error output of a command."""
    try:
        code = cli.main(argv)
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_devices(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "devices")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(device.names())
    assert "8086:10ca" in out


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "required: COMMAND"),
        (["no-such-command"], "invalid choice"),
        (["render", "igb-vf"], "required: -o/--output"),
        (["render", "igb", "-o", "out"], "There is no device description 'igb'"),
        (["build", "./nowhere.toml"], "There is no device description './nowhere.toml'"),
        (["inspect", "/nowhere.ko"], "/nowhere.ko cannot be read"),
        (["inspect", "/etc/passwd"], "is not a kernel module"),
    ],
)
def test_wrong_input_is_2(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert complaint in err


def test_wrong_description_is_2_and_lists_the_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("schema = 7\nnmae = 1\n")
    code, _, err = run(capsys, "build", str(tmp_path / "mine.toml"))
    assert code == 2
    assert f"{tmp_path}/mine.toml: schema = 7: must be 2, or 1" in err
    assert "nmae = 0x1: unknown key; did you mean name?" in err


def test_wrong_tree_is_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--root", f"{tmp_path}/nowhere"], ["--kernel-tree", str(tmp_path)]):
        code, out, err = run(capsys, "render", "igb-vf", "-o", f"{tmp_path}/out", *options)
        assert (code, out) == (4, "")
        assert "kpatch: " in err
    assert not (tmp_path / "out").exists()


def test_missing_headers_are_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "release", lambda: "9.9.9-none")
    code, _, err = run(capsys, "build", "igb-vf", "-o", str(tmp_path / "out"))
    assert code == 4
    assert "linux-headers-9.9.9-none" in err


def test_output_that_is_a_file_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "out").write_text("")
    argv = ["render", "igb-vf", "-o", str(tmp_path / "out"), "--kernel-tree", str(tree)]
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert "cannot be made: File exists" in err


def test_inspect_tells_and_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = ["--kernel-tree", str(make_tree(tmp_path / "tree"))]
    file = tmp_path / "test.ko"
    file.write_bytes(module(INFO, IMPORTS))
    code, out, _ = run(capsys, "inspect", str(file), *tree)
    assert code == 0
    assert out.startswith("test_vfio_pci: Test driver\n  alias      vfio_pci:v00008086d000010CA")
    assert "parameter  debug: Say more" in out
    assert out.endswith("No problem found.\n")
    file.write_bytes(module(info_with("vermagic", f"{RELEASE} SMP "), IMPORTS))
    code, out, _ = run(capsys, "inspect", str(file), *tree)
    assert code == 1
    assert re.search(r"problem +vermagic +Its vermagic lacks preempt and lacks mod_unload", out)
    assert "Exec format error" in " ".join(out.split())
    assert "1 problem: this kernel will not run it as it is." in out


def test_inspect_without_headers_still_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "release", lambda: "9.9.9-none")
    file = tmp_path / "test.ko"
    file.write_bytes(module(INFO, IMPORTS))
    code, out, _ = run(capsys, "inspect", str(file))
    assert code == 0
    assert "were not looked up" in out
    code, _, err = run(capsys, "inspect", str(file), "--kernel-tree", "/nowhere")
    assert code == 4
    assert "/nowhere is not a kernel build tree" in err


@pytest.mark.parametrize("where", ["before", "after"])
def test_dry_run_prints_the_programs(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_root(tmp_path / "root", RELEASE)
    command = ["build", "igb-vf", "-o", str(tmp_path / "out"), "--root", str(root)]
    argv = ["--dry-run", *command] if where == "before" else [*command, "--dry-run"]
    code, out, _ = run(capsys, *argv)
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()] == ["precopy.o", "modules"]
    assert all(line.startswith("bwrap ") for line in out.splitlines())
    assert not (tmp_path / "out").exists()


def test_interrupt_is_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_name: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(device, "load", interrupt)
    assert run(capsys, "devices") == (130, "", "kpatch: interrupted.\n")


def test_full_disk_is_4_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_name: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(device, "load", fail)
    shown = "kpatch: a file cannot be read or written: No space left on device.\n"
    assert run(capsys, "devices") == (4, "", shown)
