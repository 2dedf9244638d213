# SPDX-License-Identifier: GPL-2.0-only
"""Finds out whether KVM works here, by letting it run a few instructions.

That /dev/kvm can be opened proves nothing: nested and para-virtual hosts open it, and then guests
hang. So a guest of a few instructions must say something within a few seconds.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from conformance.lab import paths
from kpatch import programs
from kpatch.errors import ProgramFailed
from kpatch.sandbox import Sandbox

KVM = Path("/dev/kvm")
_TIMEOUT = 5.0
_WORKS, _HANGS = "works", "hangs"
_PORT = 0xF4
_VALUE = 0x15
_STATUS = _VALUE << 1 | 1
"""How isa-debug-exit ends QEMU when the guest writes `_VALUE` to its port."""
_SIZE = 1 << 16
_RESET = 0xFFF0
"""Where a PC's processor begins in the last 64 KiB of its address space."""

_PROGRAM = bytes(
    [
        *(0xB8, 0x00, 0x00),  # mov ax, 0
        *(0xB9, 0x00, 0x10),  # mov cx, 0x1000
        0x40,  # again: inc ax
        *(0xE2, 0xFD),  # loop again
        *(0xB0, _VALUE),  # mov al, _VALUE
        *(0xE6, _PORT),  # out _PORT, al
        0xF4,  # hlt
    ]
)


def firmware() -> bytes:
    """Return the contents of a ROM which says that it runs."""
    rom = bytearray(_SIZE)
    rom[: len(_PROGRAM)] = _PROGRAM
    back = (-(_RESET + 3)) & 0xFFFF
    rom[_RESET : _RESET + 3] = bytes([0xE9, back & 0xFF, back >> 8])  # jmp to the beginning
    return bytes(rom)


def probe_argv(rom: Path, accelerator: str = "kvm") -> list[str]:
    """Return the command line of QEMU which runs the ROM."""
    return [
        "qemu-system-x86_64",
        *("-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-machine", "q35,kernel-irqchip=split"),
        *("-accel", accelerator),
        *("-cpu", "host" if accelerator == "kvm" else "max"),
        *("-m", "16M"),
        *("-bios", str(rom)),
        *("-device", f"isa-debug-exit,iobase={_PORT:#x},iosize=4"),
    ]


def accelerator(sandbox: Sandbox) -> tuple[str, str]:
    """Return ``kvm`` or ``tcg``, and why.

    The answer for KVM is kept in the cache until kernel, processor or QEMU change.
    """
    if not KVM.exists():
        return "tcg", "this host has no /dev/kvm"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg", "this user may not open /dev/kvm (add the user to the group kvm)"
    answer = _answer(sandbox)
    if not answer.exists():
        works = works_here(sandbox)
        if programs.dry():
            return "tcg", "a dry run does not try KVM"
        answer.write_text(_WORKS if works else _HANGS, encoding="utf-8")
    if answer.read_text(encoding="utf-8") == _WORKS:
        return "kvm", "a probe ran"
    return "tcg", "/dev/kvm is there, but a probe did not run to its end"


def distrust(sandbox: Sandbox) -> None:
    """Note that KVM does not work here although the probe ran."""
    _answer(sandbox).write_text(_HANGS, encoding="utf-8")


def works_here(sandbox: Sandbox, accelerator: str = "kvm") -> bool:
    """Whether the probe runs to its end."""
    rom = paths.cache() / "kvm" / "probe.rom"
    rom.parent.mkdir(parents=True, exist_ok=True)
    rom.write_bytes(firmware())
    devices = [KVM] if accelerator == "kvm" else []
    argv = sandbox.argv(probe_argv(rom, accelerator), ro_bind=[rom], devices=devices)
    try:
        return programs.run(argv, timeout=_TIMEOUT, check=False).returncode == _STATUS
    except ProgramFailed:
        return False


def _answer(sandbox: Sandbox) -> Path:
    """Return the file with the answer, named for what it depends on."""
    depends = f"{host_cpu()} {platform.release()} {sandbox.root}"
    return paths.cache() / "kvm" / hashlib.sha256(depends.encode()).hexdigest()[:12]


def host_cpu() -> str:
    """Return what tells this host's processor from another one's."""
    with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        wanted = ("model name", "stepping", "microcode", "flags")
        lines = {line.strip() for line in file if line.startswith(wanted)}
    return " ".join(sorted(lines))
