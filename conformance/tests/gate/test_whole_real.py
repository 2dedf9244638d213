# SPDX-License-Identifier: GPL-2.0-only
"""`gate --build --boot` on the whole source of a kernel: core code is compiled, booted and judged.

VFIO_KIT_LINUX names the source, of any version, and VFIO_KIT_BOOT=1 allows it to boot. The first
build of a kernel takes some ten minutes; its objects stay in the cache.
"""

import argparse
import os
from pathlib import Path

import pytest

from conformance.cli.arguments import parse
from conformance.gate import command
from conformance.gate import run as gate
from conformance.gate.building.whole import SELFTESTS
from conformance.gate.results import Report
from kpatch.series import mail as series_mail
from kpatch.series.mail import FIRST, Recipients
from kpatch.tools import git
from kpatch.tools.git import Identity

pytestmark = pytest.mark.slow

_MM, _MAIN, _CORE = "mm/mlock.c", "drivers/vfio/vfio_main.c", "drivers/vfio/pci/vfio_pci_core.c"
_RESET = "\tret = pci_try_reset_function(vdev->pdev);\n\tup_write(&vdev->memory_lock);\n\n\treturn"
_NO_RESET = _RESET.replace("pci_try_reset_function(vdev->pdev)", "vdev->pdev ? 0 : -EAGAIN")
_WHY = "Why.\n\nSigned-off-by: Ada User <ada@example.org>\n"


def _series(linux: Path, folder: Path, changes: list[tuple[str, str, str, str]]) -> Path:
    """Write a patch for each change: subject, file, what is replaced, and by what."""
    who = Identity("Ada User", "ada@example.org")
    files = {path: linux / path for _, path, _, _ in changes}
    tree = git.adopt(files, folder / "tree", who, "base")
    base = tree.out("rev-parse", "HEAD")
    for subject, path, old, new in changes:
        text = (tree.path / path).read_text("utf-8")
        assert text.count(old) == 1
        (tree.path / path).write_text(text.replace(old, new), "utf-8")
        tree.commit(f"{subject}\n\n{_WHY}", git.EPOCH)
    series_mail.format_patches(tree, base, folder / "series", FIRST, Recipients((), ()))
    return folder / "series"


def _judge(what: Path, linux: Path, folder: Path) -> Report:
    words = ["gate", str(what), "--tree", str(linux), "--build", "--boot", "-o", str(folder)]
    arguments: argparse.Namespace = parse(words)
    return gate.judge(command.request(arguments, print), print)


@pytest.fixture
def linux() -> Path:
    path = Path(os.environ.get("VFIO_KIT_LINUX", "/nonexistent"))
    if not os.environ.get("VFIO_KIT_BOOT"):
        pytest.skip("VFIO_KIT_BOOT is not set: the case builds and boots a kernel")
    if not (path / "arch/x86/Kconfig").is_file():
        pytest.skip(f"VFIO_KIT_LINUX does not name the whole source of a kernel: {path}")
    return path


def test_core_code(linux: Path, tmp_path: Path) -> None:
    """Two changes that are right pass; a reset that does nothing boots, and breaks rules."""
    changes = [
        ("mm/mlock: Say it shorter", _MM, "RLIMIT_MEMLOCK) != 0)", "RLIMIT_MEMLOCK))"),
        ("vfio: Initialize the status", _MAIN, "vfio_init(void)\n{\n\tint ret;\n",
         "vfio_init(void)\n{\n\tint ret = 0;\n"),
    ]  # fmt: skip
    report = _judge(_series(linux, tmp_path / "good", changes), linux, tmp_path / "res")
    assert [patch.verdict for patch in report.patches] == ["passed", "passed"]
    steps = {step.name: step.verdict for step in report.patches[1].steps}
    assert steps["boot"] == "passed"
    assert ("selftests" in steps) == (linux / SELFTESTS).is_dir()
    bad = [*changes, ("vfio/pci: Do not reset", _CORE, _RESET, _NO_RESET)]
    report = _judge(_series(linux, tmp_path / "bad", bad), linux, tmp_path / "res")
    assert [patch.kept for patch in report.patches] == [True, True, False]
    assert [step.name for step in report.patches[2].failures] == ["boot"]
    assert "state.reset" in "\n".join(report.patches[2].failures[0].details)
