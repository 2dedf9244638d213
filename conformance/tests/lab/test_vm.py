# SPDX-License-Identifier: GPL-2.0-only
"""The lab itself, with modules that misbehave: real images, real kernels, real deaths.

Needs the image trixie in the cache (`python -m conformance image trixie`). Without KVM each of
these takes a few seconds, the first about fifteen.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from conformance.lab.boot import bootkernel
from conformance.lab.image import definitions, image
from conformance.lab.image.image import Image
from conformance.lab.machine import accel, lab
from conformance.lab.machine import argv as machine
from conformance.running import paths
from kpatch.kernel import kbuild

MODULES = Path(__file__).with_name("modules")
TRIXIE = definitions.image("trixie")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Image(TRIXIE, image.place(TRIXIE)).exists(),
        reason="the image trixie is not in the cache (python -m conformance image trixie)",
    ),
]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: int
    said: str
    results: Path

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.results / "results.json").read_text())
        return found


@pytest.fixture(scope="session")
def trixie() -> Image:
    return Image(TRIXIE, image.place(TRIXIE))


def check(tmp_path: Path, *arguments: str, timeout: float = 300) -> Outcome:
    """Run `python -m conformance check` and return how it ended."""
    command = [sys.executable, "-m", "conformance", "check", *arguments]
    done = subprocess.run(
        [*command, "--results", str(tmp_path / "results")],
        cwd=paths.KIT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    said = " ".join((done.stdout + done.stderr).split())
    return Outcome(done.returncode, said, (tmp_path / "results/latest").resolve())


def built(name: str, trixie: Image, tmp_path: Path) -> str:
    """Build one of the modules here and return its path."""
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy2(MODULES / f"{name}.c", folder)
    (folder / "Kbuild").write_text(f"obj-m := {name}.o\n")
    tree = bootkernel.of_image(trixie).tree
    return str(kbuild.build(folder, tree, log=tmp_path / "build.log"))


def left_over() -> Sequence[str]:
    """Return the QEMU processes and folders of runs of this process's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            mine = f"VFIO_KIT_TEST={os.getpid()}".encode() in path.read_bytes()
            words = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if mine and words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


def test_panic_while_the_module_is_loaded(trixie: Image, tmp_path: Path) -> None:
    run = check(tmp_path, "--module", built("panics", trixie, tmp_path))
    assert run.status == 3
    assert "the test asked for it" in run.said
    assert "panics_init" in run.said
    assert run.document["verdict"]["exit_code"] == 3
    assert "Kernel panic" in (run.results / "console.log").read_text(errors="replace")


def test_hang_while_the_module_is_loaded(trixie: Image, tmp_path: Path) -> None:
    module = built("hangs", trixie, tmp_path)
    run = check(tmp_path, "--module", module, "--quiet", "8")
    assert run.status == 3
    assert "No event came from the guest for 8 s" in run.said
    assert "hangs_init" in run.said


def test_module_that_does_not_load_is_the_drivers_fault(trixie: Image, tmp_path: Path) -> None:
    run = check(tmp_path, "--module", built("refuses", trixie, tmp_path))
    assert run.status == 1
    assert "the driver could not be loaded" in run.said
    assert "refuses: there is no such hardware" in run.said


def test_module_without_driver_is_the_drivers_fault(trixie: Image, tmp_path: Path) -> None:
    run = check(tmp_path, "--module", built("nodriver", trixie, tmp_path))
    assert run.status == 1
    assert "registers no driver on the bus pci" in run.said


def test_file_that_is_no_module_is_reported_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "x.ko").write_text("text")
    run = check(tmp_path, "--module", str(tmp_path / "x.ko"))
    assert run.status == 2
    assert not run.results.exists()


def test_wrong_argument_for_pytest_is_usage(tmp_path: Path) -> None:
    run = check(tmp_path, "--", "--no-such-option")
    assert run.status == 2
    assert "no-such-option" in run.said


def test_stock_driver_has_no_migration(trixie: Image, tmp_path: Path) -> None:
    """The kernel's own vfio-pci is loaded, bound, judged, and found to have no region."""
    stock = next(trixie.modules.rglob("vfio-pci.ko*"))
    run = check(tmp_path, "--module", str(stock), "--rule", "region.type")
    assert run.status == 1
    assert "region.type" in run.said


def test_second_run_restores_what_the_first_booted(tmp_path: Path) -> None:
    cold = check(tmp_path, "--cold", "--rule", "region.type")
    warm = check(tmp_path, "--rule", "region.type")
    assert (cold.status, warm.status) == (0, 0)
    assert "boot" in cold.document["timings"]
    assert "boot" not in warm.document["timings"]
    assert warm.document["timings"]["restore"] < cold.document["timings"]["boot"] / 3
    assert warm.document["seed"] != cold.document["seed"]  # random although from a snapshot


@pytest.mark.parametrize("sign", ["lab was restored from its snapshot", "Booting", "guest: tests"])
def test_interrupt_leaves_nothing(tmp_path: Path, sign: str) -> None:
    command = [sys.executable, "-m", "conformance", "check", "--results", str(tmp_path)]
    command += ["--cold"] if sign == "Booting" else []
    env = {**os.environ, "VFIO_KIT_TEST": str(os.getpid()), "TMPDIR": str(tmp_path / "t")}
    (tmp_path / "t").mkdir()
    with subprocess.Popen(
        command, cwd=paths.KIT, env=env, text=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if sign in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 130
    assert "interrupted" in rest
    assert str(tmp_path) in rest
    deadline = time.monotonic() + 3
    while left_over() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_over() == []
    assert list((tmp_path / "t").iterdir()) == []
    assert "vfio-kit" not in Path("/proc/mounts").read_text()


def test_shell_runs_what_is_piped_in_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "shell", "--bare"],
        input="uname -r; ls /sys/bus/pci/devices; exit\n",
        cwd=paths.KIT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "VFIO_KIT_TEST": str(os.getpid())},
    )
    assert done.returncode == 0
    assert "0000:01:10.0" in done.stdout
    assert left_over() == []


def test_probe_of_kvm_succeeds_where_a_kernel_boots(trixie: Image) -> None:
    igb = next(one for one in definitions.machines() if one.name == "igb")
    made = lab.assemble(trixie, trixie, bootkernel.of_image(trixie), igb)
    with accel.booting(trixie.sandbox, made.boot, "tcg", timeout=60) as works:
        assert works()
    broken = replace(made.boot, kernel=made.boot.initramfs)
    with accel.booting(trixie.sandbox, broken, "tcg", timeout=20) as works:
        assert not works()


def test_python_kmod_is_in_the_image(trixie: Image) -> None:
    argv = trixie.sandbox.argv(["python3", "-c", "import kmod; print(kmod.Kmod)"])
    assert "kmod.Kmod" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_qemu_of_the_image_takes_every_argument(trixie: Image, tmp_path: Path) -> None:
    """The monitor of a machine that is never started answers."""
    igb = next(one for one in definitions.machines() if one.name == "igb")
    made = lab.assemble(trixie, trixie, bootkernel.of_image(trixie), igb)
    (tmp_path / "payload").write_bytes(bytes(1 << 20))
    files = machine.RunFiles(tmp_path, tmp_path)
    argv = [*made.argv(files), "-S", "-qmp", "stdio"]
    done = subprocess.run(
        argv,
        input='{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"SHUTDOWN"' in done.stdout
