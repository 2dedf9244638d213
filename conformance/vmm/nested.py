# SPDX-License-Identifier: GPL-2.0-only
"""Makes the innermost guest: one program and the image's kernel, booted here and saved.

A kernel takes minutes to boot under emulation in an emulated machine, and three seconds here. So
it boots here, in the QEMU that will run it there, and its state is cached. The function is
plugged into it later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from conformance.errors import QemuError
from conformance.lab.boot.cpio import Cpio
from conformance.lab.image.image import Image
from conformance.running import locked, paths
from conformance.running.steps import Steps
from conformance.vmm.inside.machine import system
from conformance.vmm.inside.qmp import Lost, Qmp, Refused
from kpatch.tools import programs

_SOURCES = sorted((paths.DATA / "vmm").glob("*.[ch]"))
_CMDLINE = (
    "console=ttyS0 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check nowatchdog "
    "init_on_free=1 "  # pages of zeros are nothing in a stream
    "rcupdate.rcu_cpu_stall_suppress=1 loglevel=4"
)
_BOOT_TIMEOUT = 90.0
_SAVE_TIMEOUT = 60.0
_RECIPE = 1
"""Raised when this module makes another state of the same inputs."""


def firmware(image: Image) -> dict[str, Path]:
    """Return the files that QEMU reads when it starts, by name."""
    share = image.root / "usr/share/qemu"
    return {name: share / name for name in ("qboot.rom", "kvmvapic.bin", "linuxboot_dma.bin")}


def provide(image: Image, steps: Steps, qemu: Path | None = None) -> Path:
    """Return the saved state of a guest that has booted; make it if it is not in the cache.

    Args:
        image: Has the guest's kernel.
        steps: Reports progress to the user.
        qemu: The program that will run the guest; without it the image's.

    Raises:
        QemuError: The guest did not boot or was not saved.
        ProgramFailed: Its program does not compile.
    """
    inputs = [_RECIPE, image.key, system(Path("firmware")), _CMDLINE]
    inputs += [source.read_text() for source in _SOURCES]
    inputs += [qemu.parent.name] if qemu else []
    name = hashlib.sha256(json.dumps(inputs, default=str).encode()).hexdigest()[:12]
    folder = paths.cache() / "vmm" / f"{image.definition.name}-{name}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked.lock(folder.parent / "lock"):
        if not folder.exists():
            with steps.step("innermost guest"), locked.whole_folder(folder) as part:
                _make(image, part, qemu)
    return folder / "state"


def _make(image: Image, part: Path, qemu: Path | None) -> None:
    init = part / "init"
    argv = ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-s", "-o", str(init)]
    argv += [str(source) for source in _SOURCES if source.suffix == ".c"]
    programs.run(image.sandbox.argv(argv, ro_bind=[_SOURCES[0].parent], bind=[part]), timeout=60)
    with (part / "initrd").open("wb") as out:
        archive = Cpio(out)
        archive.directory("dev")
        archive.character_device("dev/console", 5, 1)
        archive.file("init", init.read_bytes(), 0o755)
        archive.close()
    place = part / "firmware"
    place.mkdir()
    for name, path in firmware(image).items():
        (place / name).write_bytes(path.read_bytes())
    command = [
        str(qemu or "qemu-system-x86_64"),
        *system(place),
        *("-kernel", str(image.vmlinuz), "-initrd", str(part / "initrd"), "-append", _CMDLINE),
        *("-serial", f"file:{part}/console", "-serial", f"file:{part}/port"),
        *("-qmp", f"unix:{part}/qmp,server=on,wait=off"),
    ]
    shown = [image.vmlinuz.parent, *([qemu.parent] if qemu else [])]
    sandboxed = image.sandbox.argv(command, ro_bind=shown, bind=[part])
    with programs.start(sandboxed, log=part / "qemu.log") as process:
        try:
            _save(part, lambda: process.poll() is None)
        except (Lost, Refused) as error:
            raise QemuError(f"The innermost guest was not saved: {error}.") from error
        process.wait(5)


def _save(part: Path, alive: Callable[[], bool]) -> None:
    monitor = Qmp(part / "qmp", alive)
    try:
        _wait_for(part / "port", "ok up", part / "console")
        monitor.run("stop")
        monitor.run("migrate", uri=f"exec:cat > {part}/state")
        monitor.migration(lambda status: status == "completed", _SAVE_TIMEOUT)
        with contextlib.suppress(Lost):  # it may end before it answers
            monitor.run("quit")
    finally:
        monitor.close()


def _wait_for(path: Path, wanted: str, console: Path) -> None:
    deadline = time.monotonic() + _BOOT_TIMEOUT
    while wanted not in (path.read_text() if path.exists() else ""):
        if time.monotonic() > deadline:
            said = console.read_text(errors="replace")[-1000:] if console.exists() else "nothing"
            raise QemuError(
                f"The innermost guest did not come up within {_BOOT_TIMEOUT:g} s. Its console "
                f"said at last:\n{said}"
            )
        time.sleep(0.05)
