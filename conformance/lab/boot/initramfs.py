# SPDX-License-Identifier: GPL-2.0-only
"""Makes the initramfs: busybox, the modules of the guest, and the guest's own programs.

All modules that the guest needs before the module under test comes are in here, so the same
disk serves every kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from conformance.lab.boot.cpio import Cpio
from conformance.lab.boot.modtree import ModuleTree, Step, module_name

ROOT_MODULES = ("virtio_pci", "virtio_blk", "erofs", "overlay")
"""What it takes to mount the guest's root."""

PORT_MODULES = ("virtio_console",)
"""What it takes to talk to the host."""


def build(
    out: BinaryIO,
    *,
    busybox: Path,
    guest: Path,
    modules: ModuleTree,
    names: Iterable[str],
    settings: Mapping[str, str],
) -> None:
    """Write an initramfs.

    Args:
        out: Where to.
        busybox: The statically linked busybox.
        guest: The folder with ``init`` and the package ``agent``.
        modules: The modules of the kernel.
        names: The machine's modules.
        settings: What ``/lab/settings`` says; shell words, one ``KEY=VALUE`` a line.

    Raises:
        KernelError: A module is missing.
        OSError: A file cannot be read or written.
    """
    root = modules.load_order(ROOT_MODULES)
    every = modules.load_order([*ROOT_MODULES, *PORT_MODULES, *names])
    rest = [step for step in every if step not in root]
    archive = Cpio(out)
    folders = ("bin", "dev", "disk", "lab", "lab/agent", "lab/modules", "proc", "ram", "sys")
    for folder in folders:
        archive.directory(folder)
    archive.character_device("dev/console", 5, 1)  # init's own output
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.symlink("bin/sh", "busybox")
    archive.file("init", (guest / "init").read_bytes(), 0o755)
    for path in sorted((guest / "agent").glob("*.py")):
        archive.file(f"lab/agent/{path.name}", path.read_bytes())
    archive.file("lab/settings", "".join(f"{k}={v}\n" for k, v in settings.items()).encode())
    for step in every:
        archive.file(_place(step), modules.read(step.path))
    archive.file("lab/modules.root", _list(root))
    archive.file("lab/modules.rest", _list(rest))
    archive.close()


def _place(step: Step) -> str:
    return f"lab/modules/{module_name(step.path)}.ko"


def _list(steps: Iterable[Step]) -> bytes:
    lines = (f"{'needed' if step.needed else 'optional'} /{_place(step)}\n" for step in steps)
    return "".join(lines).encode()
