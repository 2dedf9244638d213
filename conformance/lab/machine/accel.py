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
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from conformance.lab.machine.argv import Boot
from conformance.running import paths
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


@contextlib.contextmanager
def probing(sandbox: Sandbox, boot: Boot) -> Iterator[Callable[[], tuple[str, str]]]:
    """Within the block, find out in the background whether KVM works, unless that is known.

    The answer is kept in the cache until kernel, processor or QEMU change.

    Args:
        sandbox: The root with QEMU.
        boot: A kernel and an initramfs with our init.

    Yields:
        A function that waits for the answer: ``kvm`` or ``tcg``, and why.
    """
    if not KVM.exists():
        yield lambda: ("tcg", "this host has no /dev/kvm")
    elif not os.access(KVM, os.R_OK | os.W_OK):
        yield lambda: ("tcg", "no permission to open /dev/kvm (add this user to the group kvm)")
    elif known(sandbox) is None:
        with booting(sandbox, boot) as works:
            yield lambda: _probed(sandbox, works)
    else:
        yield lambda: _kept(sandbox)


def _probed(sandbox: Sandbox, works: Callable[[], bool]) -> tuple[str, str]:
    """Wait for the probe, and keep its answer."""
    if programs.dry():
        return "tcg", "a dry run does not try KVM"
    _keep(sandbox, _WORKS if works() else _HANGS)
    return _kept(sandbox)


def _kept(sandbox: Sandbox) -> tuple[str, str]:
    if known(sandbox):
        return "kvm", "a kernel boots with it"
    return "tcg", "/dev/kvm exists, but a kernel does not boot with it"


def known(sandbox: Sandbox) -> bool | None:
    """Return whether KVM works with this QEMU; None if it was never probed."""
    with contextlib.suppress(OSError):
        return _answer(sandbox).read_text(encoding="utf-8") == _WORKS
    return None


def distrust(sandbox: Sandbox) -> None:
    """Note that KVM does not work here although the probe ran."""
    _keep(sandbox, _HANGS)


@contextlib.contextmanager
def booting(
    sandbox: Sandbox, boot: Boot, accelerator: str = "kvm", timeout: float = _TIMEOUT
) -> Iterator[Callable[[], bool]]:
    """Boot the probe in the background; it ends with the block at the latest.

    Args:
        sandbox: The root with QEMU.
        boot: A kernel and an initramfs with our init.
        accelerator: With which it is booted.
        timeout: Seconds from its start that it gets.

    Yields:
        A function that waits for its end, and returns whether the kernel reached our init.

    Raises:
        ProgramFailed: It could not be started.
    """
    argv = sandbox.argv(
        probe_argv(boot, accelerator),
        ro_bind=[boot.kernel.parent, boot.initramfs.parent],
        devices=[KVM] if accelerator == "kvm" else [],
    )
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="vfio-kit-probe-") as folder:
        log = Path(folder, "log")
        with programs.start(argv, log=log) as probe:

            def works() -> bool:
                probe.wait(max(0.0, deadline - time.monotonic()))
                return _SIGN in log.read_text(encoding="utf-8", errors="replace")

            yield works


def _keep(sandbox: Sandbox, answer: str) -> None:
    file = _answer(sandbox)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(answer, encoding="utf-8")


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
