# SPDX-License-Identifier: GPL-2.0-only
"""Probes KVM by booting a kernel with it.

An open of /dev/kvm proves nothing: some nested and paravirtualized hosts run a boot loader with it
and then hang in the kernel. So a kernel must reach its init within a few seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path

from conformance.lab.machine.argv import Boot
from conformance.running import paths
from kpatch.errors import ProgramFailed
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

KVM = Path("/dev/kvm")

_TIMEOUT = 10.0
"""Seconds for the probe boot; with KVM it takes one."""

_SIGN = "lab-init: the probe ran"
"""Printed by vm-images/guest/init."""

_WORKS, _HANGS = "works", "hangs"


def probe_argv(boot: Boot, accelerator: str = "kvm") -> list[str]:
    """Return the command line of QEMU that boots just far enough."""
    return [
        "qemu-system-x86_64",
        *("-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-machine", "q35,kernel-irqchip=split"),
        *("-accel", accelerator),
        *("-cpu", "host" if accelerator == "kvm" else "max"),
        *("-smp", "2"),
        *("-m", "512M"),
        *("-kernel", str(boot.kernel)),
        *("-initrd", str(boot.initramfs)),
        *("-append", "console=ttyS0 panic=-1 lab.probe"),
        *("-serial", "stdio"),
    ]


def accelerator(sandbox: Sandbox, boot: Boot) -> tuple[str, str]:
    """Return ``kvm`` or ``tcg``, and why.

    The answer for KVM is kept in the cache until kernel, processor or QEMU change.

    Args:
        sandbox: The root with QEMU.
        boot: A kernel and an initramfs with our init.
    """
    if not KVM.exists():
        return "tcg", "this host has no /dev/kvm"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg", "no permission to open /dev/kvm (add this user to the group kvm)"
    answer = _answer(sandbox)
    if not answer.exists():
        works = works_here(sandbox, boot)
        if programs.dry():
            return "tcg", "a dry run does not try KVM"
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text(_WORKS if works else _HANGS, encoding="utf-8")
    if answer.read_text(encoding="utf-8") == _WORKS:
        return "kvm", "a kernel boots with it"
    return "tcg", "/dev/kvm exists, but a kernel does not boot with it"


def known(sandbox: Sandbox) -> bool | None:
    """Return whether KVM works with this QEMU; None if it was never probed."""
    with contextlib.suppress(OSError):
        return _answer(sandbox).read_text(encoding="utf-8") == _WORKS
    return None


def distrust(sandbox: Sandbox) -> None:
    """Note that KVM does not work here although the probe ran."""
    _answer(sandbox).write_text(_HANGS, encoding="utf-8")


def works_here(sandbox: Sandbox, boot: Boot, accelerator: str = "kvm", timeout: float = 0) -> bool:
    """Whether the probe runs to its end."""
    argv = sandbox.argv(
        probe_argv(boot, accelerator),
        ro_bind=[boot.kernel.parent, boot.initramfs.parent],
        devices=[KVM] if accelerator == "kvm" else [],
    )
    try:
        return _SIGN in programs.run(argv, timeout=timeout or _TIMEOUT, check=False).stdout
    except ProgramFailed:
        return False


def _answer(sandbox: Sandbox) -> Path:
    """Return the file with the answer, named for what it depends on."""
    depends = f"{host_cpu()} {platform.release()} {sandbox.root}"
    return paths.cache() / "kvm" / hashlib.sha256(depends.encode()).hexdigest()[:12]


def host_cpu() -> str:
    """Return an identifier of this host's CPU model."""
    with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        wanted = ("model name", "stepping", "microcode", "flags")
        lines = {line.strip() for line in file if line.startswith(wanted)}
    return " ".join(sorted(lines))
