# SPDX-License-Identifier: GPL-2.0-only
"""What other parts of the kit know, where they and what they need are there.

A checkout on a test machine may have neither `kpatch`, nor pydantic, nor pyelftools.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

_TIMEOUT = 10.0
_ELF = b"\x7fELF"

ModuleFindings = tuple[tuple[str, str], ...]
"""Level as `kpatch.module.finding` has it, and words."""


def cache() -> Path:
    """Return where the lab keeps its images, as `conformance.running.paths` has it."""
    if own := os.environ.get("VFIO_KIT_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(base) / "vfio-migration-kit").absolute()


def images(folder: Path) -> tuple[tuple[tuple[str, str], ...], bool | None, tuple[str, ...]]:
    """Return the images with their QEMU, whether KVM was seen to work, and what is left out."""
    versions: dict[str, str] = {}
    roots = []
    for path in _manifests(folder / "images"):
        try:
            versions[path.parent.name.rpartition("-")[0]] = json.loads(path.read_text())["qemu"]
        except (OSError, ValueError, KeyError):
            continue
        roots.append(path.parent / "root")
    made = tuple(sorted(versions.items()))
    try:
        from conformance.lab.machine import accel  # noqa: PLC0415 - may be missing
        from kpatch.tools.sandbox import Sandbox  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return made, None, (f"whether KVM was tried is not known: this Python has no {error.name}",)
    answers = {accel.known(Sandbox(root)) for root in roots}
    return made, True if True in answers else False if False in answers else None, ()


def _manifests(folder: Path) -> list[Path]:
    """Return the manifests of images, the newest last; none if this user may not look."""
    try:
        return sorted(folder.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return []


def unpacked(path: Path) -> bytes | None:
    """Return what is in the file of a module, whatever it is packed by; None if that fails.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        try:
            from kpatch.errors import ModuleFileError  # noqa: PLC0415 - may be missing
            from kpatch.module import packing  # noqa: PLC0415
        except ModuleNotFoundError:
            head = file.read(len(_ELF))  # /dev/zero has no end
            return head + file.read() if head == _ELF else None
    try:
        return packing.unpack(packing.load(path), path)[0]
    except ModuleFileError:
        return None


def qemu_version() -> str:
    """Return the version of the QEMU of this machine; empty if it has none."""
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"version (\d+(?:\.\d+)+)", done.stdout)
    return found[1] if found else ""


def module_findings(path: Path) -> tuple[ModuleFindings, str]:
    """Return what `kpatch` finds wrong with a module for the running kernel, or why it cannot.

    Without the headers of the running kernel it cannot compare the versions of symbols.
    """
    try:
        from kpatch.errors import KpatchError  # noqa: PLC0415
        from kpatch.kernel import tree as kernel  # noqa: PLC0415
        from kpatch.module import diagnosis  # noqa: PLC0415
        from kpatch.module import info as module  # noqa: PLC0415 - may be missing
    except ModuleNotFoundError as error:
        return (), f"this Python has no {error.name}"
    try:
        info = module.read(path)
        found = diagnosis.diagnose(info, kernel.find(None))
    except KpatchError as error:
        return (), str(error)
    return tuple(
        (one.level, " ".join(part for part in (one.what, one.why, one.do) if part))
        for one in found
        if one.level in ("problem", "warning")
    ), ""
