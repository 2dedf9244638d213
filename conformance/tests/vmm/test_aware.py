# SPDX-License-Identifier: GPL-2.0-only
"""Building a QEMU that knows the saving layout, with programs that stand for the real ones."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from conformance.errors import QemuError
from conformance.lab.image import image
from conformance.running import paths
from conformance.running.steps import Steps
from conformance.vmm import aware
from kpatch.errors import ProgramFailed, SourceTreeError
from kpatch.series import qemu
from kpatch.tools import programs

FILES = {"hw/vfio/pci.c": "changed\n"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "qemu"
    for name in ("VERSION", "hw/vfio/pci.c", "configs/devices/x86_64-softmmu/default.mak"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("10.0.13\n")
    return folder


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the commands that are run; `ninja` writes what it sees of the sources."""
    found: list[str] = []

    def run(argv: list[str], *, log: Path | None = None, **_: float) -> None:
        found.append(argv[0] if argv[0] != "nice" else argv[3])
        work = next((tmp_path / "cache/vmm").glob("*qemu-*/source"))
        if log:
            log.write_text("said\n")
        if argv[0] == "nice":
            text = (work / "hw/vfio/pci.c").read_text()
            (work / "build/qemu-system-x86_64").write_text(text)

    made = Mock(key="k")
    made.sandbox.argv = lambda argv, **_: argv
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(image, "provide", lambda *_: made)
    monkeypatch.setattr(aware, "_changed", lambda _: FILES)
    monkeypatch.setattr(programs, "run", run)
    return found


def test_it_is_built_of_the_changed_source_once(source: Path, runs: list[str]) -> None:
    program = aware.provide(source, Steps(print))
    assert program.read_text() == "changed\n"
    assert (source / "hw/vfio/pci.c").read_text() == "10.0.13\n"
    assert runs == ["../configure", "ninja", "strip"]
    assert not (program.parent / "source").exists()
    assert aware.provide(source, Steps(print)) == program
    assert len(runs) == 3


def test_another_series_is_another_program(
    source: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = aware.provide(source, Steps(print))
    monkeypatch.setattr(aware, "_changed", lambda _: {"hw/vfio/pci.c": "other\n"})
    other = aware.provide(source, Steps(print))
    assert (one.read_text(), other.read_text()) == ("changed\n", "other\n")
    assert len(runs) == 6


def test_what_does_not_build_says_where_the_log_is(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(argv: list[str], *, log: Path, **_: float) -> None:
        log.write_text("no glib\n")
        raise ProgramFailed(argv, 1, "no glib")

    monkeypatch.setattr(programs, "run", fail)
    with pytest.raises(QemuError, match=r"what was printed: .*qemu-build\.log"):
        aware.provide(source, Steps(print))
    assert (tmp_path / "cache/vmm/qemu-build.log").read_text() == "no glib\n"
    assert not list((tmp_path / "cache/vmm").glob("qemu-*/"))


def test_another_folder_is_refused_before_an_image_is_made(tmp_path: Path) -> None:
    with pytest.raises(SourceTreeError, match="not a source tree of QEMU"):
        aware.provide(tmp_path, Steps(print))
    with pytest.raises(SourceTreeError):
        qemu.version(tmp_path)
