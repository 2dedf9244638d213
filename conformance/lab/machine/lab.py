# SPDX-License-Identifier: GPL-2.0-only
"""One lab: an image, a kernel, a machine and an accelerator, ready to be started."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.lab.boot import initramfs
from conformance.lab.boot.bootkernel import BootKernel
from conformance.lab.boot.modtree import ModuleTree
from conformance.lab.image.definitions import MachineDefinition
from conformance.lab.image.image import Image
from conformance.lab.machine import accel
from conformance.lab.machine.argv import Boot, RunFiles, qemu_argv
from conformance.running import locked, paths

GUEST = paths.DATA / "guest"
_NOWHERE = RunFiles(Path("/run/lab"), Path("/run/lab"))


@dataclass(frozen=True)
class Lab:
    """What can be booted, and all that its snapshot depends on.

    Attributes:
        image: Root and the guest's disk.
        emulator: The image whose QEMU runs; mostly the same.
        kernel: The kernel.
        machine: The machine.
        boot: The files that are booted.
        accelerator: ``kvm`` or ``tcg``, which works everywhere.
    """

    image: Image
    emulator: Image
    kernel: BootKernel
    machine: MachineDefinition
    boot: Boot
    accelerator: str = "tcg"

    def argv(
        self, files: RunFiles, *, incoming: bool = False, writable: Sequence[Path] = ()
    ) -> list[str]:
        """Return the command that starts QEMU inside the root of its image.

        Args:
            files: The files of the run.
            incoming: Whether to wait for a snapshot.
            writable: Folders besides those of the run that QEMU writes to.
        """
        command = qemu_argv(self.machine, self.boot, files, self.accelerator, incoming=incoming)
        shown = {self.boot.kernel.parent, self.boot.initramfs.parent, self.boot.disk.parent}
        shown.add(snapshot_folder())
        return self.emulator.sandbox.argv(
            command,
            ro_bind=sorted(path for path in shown if path.is_dir()),
            bind=[files.folder, files.logs, *writable],
            devices=[accel.KVM] if self.accelerator == "kvm" else [],
        )

    @property
    def snapshot(self) -> Path:
        """The folder of the snapshot that fits this lab and no other."""
        depends = [
            qemu_argv(self.machine, self.boot, _NOWHERE, self.accelerator),
            self.image.key,
            self.emulator.key,
            self.kernel.key,
            accel.host_cpu() if self.accelerator == "kvm" else "",
        ]
        digest = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:12]
        return snapshot_folder() / f"{self.machine.name}-{self.image.definition.name}-{digest}"


def snapshot_folder() -> Path:
    """Return the folder of all snapshots."""
    return paths.cache() / "snapshots"


def assemble(
    image: Image,
    emulator: Image,
    kernel: BootKernel,
    machine: MachineDefinition,
) -> Lab:
    """Put a lab together; makes its initramfs if it is not in the cache.

    Raises:
        KernelError: The kernel lacks a module that the machine needs.
        OSError: The initramfs cannot be written.
    """
    boot = Boot(
        kernel.vmlinuz,
        provide_initramfs(image, kernel, machine),
        image.disk,
        image.definition.cmdline,
    )
    return Lab(image, emulator, kernel, machine, boot)


def provide_initramfs(image: Image, kernel: BootKernel, machine: MachineDefinition) -> Path:
    """Return the initramfs of the machine with the guest's programs as they are now."""
    settings = {
        "PHYSICAL": machine.physical_function or "",
        "VIRTUAL": machine.virtual_function or "",
        "COUNT": str(machine.virtual_functions),
        "NETWORK": machine.network or "",
    }
    digest = hashlib.sha256(json.dumps([kernel.key, machine.modules, settings]).encode())
    programs = sorted((GUEST / "agent").glob("*.py"))
    for path in (GUEST / "init", *programs, Path(initramfs.__file__)):
        digest.update(path.read_bytes())
    name = f"{machine.name}-{image.definition.name}-{digest.hexdigest()[:12]}.cpio"
    target = paths.cache() / "initramfs" / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / locked.part_name(name)
    try:
        with part.open("wb") as out:
            initramfs.build(
                out,
                busybox=image.root / "bin/busybox",
                guest=GUEST,
                modules=ModuleTree(kernel.modules),
                names=machine.modules,
                settings=settings,
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target
