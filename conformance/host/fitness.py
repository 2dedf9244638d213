# SPDX-License-Identifier: GPL-2.0-only
"""Whether the module under test fits this kernel and these functions, before it is loaded."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from conformance.host import modules
from conformance.host.errors import Reason
from conformance.host.paths import HostPaths
from conformance.vfio.system import sysfs
from kpatch.device.description import Device
from kpatch.errors import KpatchError
from kpatch.kernel import elf
from kpatch.kernel.tree import KernelTree
from kpatch.module.diagnosis import diagnose
from kpatch.module.finding import Finding
from kpatch.module.info import ModuleInfo

_VFIO = "vfio_pci:"
"""Prefix of the alias of a driver that binds by driver_override only."""


def of_description(device: Device, names: Sequence[str], host: HostPaths) -> list[Reason]:
    """Say why a description is not that of some functions."""
    known = [(one.vendor, one.device) for one in device.ids]
    ids = (f"{vendor:04x}:{number:04x}" for vendor, number in known)
    listed = ", ".join(ids) or "no PCI function"
    found = []
    for name in names:
        who = sysfs.function(name, sysfs=host.sysfs)
        if (who.vendor, who.device) not in known:
            found.append(
                Reason(
                    f"{name} is a {who.vendor:04x}:{who.device:04x}, and the driver of "
                    f"{device.name} is for {listed}.",
                    "Name the description of this function with DEVICE, or a module with MODULE.",
                )
            )
    return found


def of_module(
    info: ModuleInfo, tree: KernelTree | None, names: Sequence[str], release: str, host: HostPaths
) -> tuple[list[Reason], list[str]]:
    """Say why a module is not fit to be loaded and bound here, and what is worth knowing of it."""
    findings = diagnose(info, tree, release)
    problems = [_reason(finding) for finding in findings if finding.level == "problem"]
    warnings = [
        f"{info.path.name}: {_reason(finding)}"
        for finding in findings
        if finding.level == "warning"
    ]
    for name in names:
        alias = sysfs.modalias(name, sysfs=host.sysfs)
        patterns = [re.sub(f"^{_VFIO}", "pci:", one) for one in info.aliases]
        if not any(fnmatch.fnmatchcase(alias, pattern) for pattern in patterns):
            problems.append(
                Reason(
                    f"{info.path.name} is not for {name}: none of its aliases "
                    f"({', '.join(info.aliases) or 'it has none'}) matches {alias}.",
                    "Name a module whose driver has the ids of the function.",
                )
            )
    problems += _loaded(info, host)
    problems += _signature(info, host)
    return problems, warnings


def is_loaded(info: ModuleInfo, host: HostPaths) -> bool:
    """Return whether this very module is loaded."""
    if not modules.loaded(info.name, host):
        return False
    running = host.sysfs / "module" / info.name / "notes/.note.gnu.build-id"
    try:
        return running.read_bytes() == elf.build_id(info.path) != b""
    except (OSError, KpatchError):
        return False


def _loaded(info: ModuleInfo, host: HostPaths) -> Iterator[Reason]:
    if modules.loaded(info.name, host) and not is_loaded(info, host):
        yield Reason(
            f"Another build of the module {info.name} is loaded already.",
            f"Remove it (rmmod {info.name}), or judge that one as it is bound: `run --device`.",
        )
    elif modules.there(info.name, host) and not modules.loaded(info.name, host):
        yield Reason(
            f"The kernel has {info.name} built in, so no module of that name can be loaded.",
            "Judge that one as it is bound: `run --device`.",
        )


def _signature(info: ModuleInfo, host: HostPaths) -> Iterator[Reason]:
    if info.signed:
        return
    enforced = host.sysfs / "module/module/parameters/sig_enforce"
    why = ""
    if (mode := lockdown(host)) not in ("", "none"):
        why = f"The kernel is locked down ({mode}), as it is after a Secure Boot"
    elif _text(enforced) == "Y":
        why = "The kernel loads signed modules only (module.sig_enforce)"
    if why:
        yield Reason(
            f"{why}, and {info.path.name} is not signed.",
            "Turn Secure Boot off on this test machine, or sign the module with a key that the "
            "kernel knows (mokutil --import; scripts/sign-file) and name it with MODULE.",
        )


def lockdown(host: HostPaths) -> str:
    """Return how far the kernel protects itself from root: none, integrity, confidentiality.

    Empty where it cannot.
    """
    text = _text(host.sysfs / "kernel/security/lockdown")
    return text.partition("[")[2].partition("]")[0]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _reason(finding: Finding) -> Reason:
    return Reason(f"{finding.what} {finding.why}".strip(), finding.do)
