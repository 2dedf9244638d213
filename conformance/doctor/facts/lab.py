# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the machine as a host for the lab's virtual machines."""

import contextlib
import importlib.util
import os
import platform
import pwd
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from conformance.doctor.facts import optional
from conformance.doctor.facts.host import Host

KIT = Path(__file__).resolve().parents[3]
"""The checkout."""

_PROGRAMS = ("bwrap", "mmdebstrap")
_PACKAGES = ("elftools", "jinja2", "junitparser", "pydantic", "pytest", "qemu.qmp")


@dataclass(frozen=True)
class Lab:
    """The host of the lab.

    Attributes:
        machine: Its processor, as ``uname -m`` prints it.
        python: The version of this Python.
        missing: Programs that are not there.
        packages: Python packages that this Python has not.
        venv: Whether `make setup` has made a Python which has them.
        namespaces: Why an ordinary user may not make user namespaces; empty if one may.
        unmapped: Files in which an ordinary user has no ids of his own to map.
        memory: Bytes that are free for a guest; None if not known.
        disk: Bytes that are free where images are kept; None if not known.
        cache: That place.
        images: The images that are made, with the version of their QEMU.
        kvm: ``missing``, ``forbidden`` or ``there``.
        kvm_works: Whether a kernel was seen to boot with it; None if nobody has tried.
        qemu: The version of the host's own QEMU; empty if it has none, or it did not say.
        left_out: What could not be found out, and why.
    """

    machine: str = "x86_64"
    python: tuple[int, int] = (3, 11)
    missing: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    venv: bool = False
    namespaces: str = ""
    unmapped: tuple[str, ...] = ()
    memory: int | None = None
    disk: int | None = None
    cache: str = ""
    images: tuple[tuple[str, str], ...] = ()
    kvm: str = "missing"
    kvm_works: bool | None = None
    qemu: str = ""
    left_out: tuple[str, ...] = ()


def gather(host: Host) -> Lab:
    """Read what is known of the host of the lab."""
    cache = optional.cache()
    images, works, left_out = optional.images(cache)
    return Lab(
        machine=platform.machine(),
        python=sys.version_info[:2],
        missing=tuple(program for program in _PROGRAMS if shutil.which(program) is None),
        packages=tuple(package for package in _PACKAGES if not _importable(package)),
        venv=os.access(KIT / ".venv/bin/python", os.X_OK),  # another user's may be out of reach
        namespaces=_namespaces(host) if os.geteuid() else "",
        unmapped=_unmapped(host) if os.geteuid() else (),
        memory=_memory(host.text("/proc/meminfo") or ""),
        disk=_free(cache),
        cache=str(cache),
        images=images,
        kvm=_kvm(host),
        kvm_works=works,
        qemu=optional.qemu_version(),
        left_out=left_out,
    )


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package above it
        return False


def _namespaces(host: Host) -> str:
    if host.text("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "kernel.unprivileged_userns_clone=1"
    if host.text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "kernel.apparmor_restrict_unprivileged_userns=0"
    if host.text("/proc/sys/user/max_user_namespaces") == "0":
        return "user.max_user_namespaces=10000"
    return ""


def _unmapped(host: Host) -> tuple[str, ...]:
    uid = os.getuid()
    names = {str(uid)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    files = ("/etc/subuid", "/etc/subgid")
    return tuple(file for file in files if not names & _owners(host.text(file)))


def _owners(text: str | None) -> set[str]:
    return {line.partition(":")[0] for line in (text or "").splitlines()}


def _memory(text: str) -> int | None:
    found = re.search(r"^MemAvailable: +([0-9]{1,15}) kB$", text, re.M)
    return int(found[1]) << 10 if found else None


def _free(folder: Path) -> int | None:
    for one in (folder, *folder.parents):
        with contextlib.suppress(OSError):  # it is not there yet, or somebody else's
            return shutil.disk_usage(one).free
    return None


def _kvm(host: Host) -> str:
    if not host.exists("/dev/kvm"):
        return "missing"
    return "there" if host.usable("/dev/kvm") else "forbidden"
