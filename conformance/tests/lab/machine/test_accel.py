# SPDX-License-Identifier: GPL-2.0-only
"""The probe of KVM: what it finds, that it is asked once, and that it leaves nothing."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.lab.machine import accel
from conformance.lab.machine.argv import Boot
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

WORKS = "echo 'lab-init: the probe ran'"
"""What QEMU prints where a kernel boots."""


@pytest.fixture(name="boot")
def fixture_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accel, "KVM", tmp_path / "kvm")
    (tmp_path / "kvm").touch()
    return Boot(tmp_path / "vmlinuz", tmp_path / "initramfs", tmp_path / "disk", ())


@pytest.fixture(name="probe")
def fixture_probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes a script of the shell stand for QEMU."""
    monkeypatch.setattr(Sandbox, "argv", lambda _self, cmd, **_shown: list(cmd))

    def take(script: str) -> None:
        monkeypatch.setattr(accel, "probe_argv", lambda *_asked: ["sh", "-c", script])

    return take


def answer(root: Path, boot: Boot) -> str:
    with accel.probing(Sandbox(root), boot) as wait:
        return wait()[0]


@pytest.mark.parametrize(("script", "name"), [(WORKS, "kvm"), ("echo", "tcg"), ("exit 1", "tcg")])
def test_answer_is_kept(
    tmp_path: Path, boot: Boot, probe: Callable[[str], None], script: str, name: str
) -> None:
    probe(script)
    assert answer(tmp_path, boot) == name
    assert accel.known(Sandbox(tmp_path)) is (name == "kvm")
    probe(f"touch {tmp_path}/asked")
    assert answer(tmp_path, boot) == name
    assert not (tmp_path / "asked").exists()


def test_kernel_that_hangs(tmp_path: Path, boot: Boot, probe: Callable[[str], None]) -> None:
    probe("sleep 300")
    begun = time.monotonic()
    with accel.booting(Sandbox(tmp_path), boot, timeout=0.2) as works:
        assert not works()
    assert time.monotonic() - begun < 60


def test_build_that_fails_ends_the_probe(
    tmp_path: Path, boot: Boot, probe: Callable[[str], None]
) -> None:
    pid = tmp_path / "pid"
    probe(f"echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 300")

    def build() -> None:
        while not pid.exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), accel.probing(Sandbox(tmp_path), boot):
        build()
    assert not Path("/proc", pid.read_text().strip()).exists()
    assert accel.known(Sandbox(tmp_path)) is None


def test_without_kvm(tmp_path: Path, boot: Boot, probe: Callable[[str], None]) -> None:
    accel.KVM.unlink()
    probe(WORKS)
    assert answer(tmp_path, boot) == "tcg"


def test_dry_run_tries_nothing(tmp_path: Path, boot: Boot, probe: Callable[[str], None]) -> None:
    probe(WORKS)
    lines: list[str] = []
    with programs.dry_run(lines.append):
        assert answer(tmp_path, boot) == "tcg"
    assert lines == [f"sh -c {shlex.quote(WORKS)}"]
    assert accel.known(Sandbox(tmp_path)) is None
