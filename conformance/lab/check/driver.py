# SPDX-License-Identifier: GPL-2.0-only
"""The module under test: rendered and built, or somebody else's; looked at before it is loaded."""

from __future__ import annotations

from pathlib import Path

from conformance.errors import LabError, UsageError
from conformance.lab.boot.bootkernel import BootKernel
from conformance.running import driver
from conformance.running.steps import Steps
from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.errors import KernelTreeError
from kpatch.module import diagnosis
from kpatch.module import info as module
from kpatch.module.finding import Finding
from kpatch.module.info import ModuleInfo
from kpatch.tools import programs


def build(
    device: Device,
    kernel: BootKernel,
    logs: Path,
    steps: Steps,
    protocols: tuple[Protocol, ...] = ("v1",),
) -> Path | None:
    """Render and build the driver of a device; what has not changed is used again.

    Args:
        device: The device.
        kernel: The kernel to build for.
        logs: Where the log of the build is left, whatever happens.
        steps: Reports progress to the user.
        protocols: The versions of the migration protocol that it speaks.

    Returns:
        The module; None in a dry run that cannot know what it would be.

    Raises:
        KpatchError: The driver cannot be rendered or does not build.
    """
    try:
        return driver.build(device, kernel.tree, kernel.key, logs, steps, protocols=protocols)
    except KernelTreeError:
        if programs.dry():
            return None  # the probe was printed, and its result is not known
        raise


def inspect(path: Path, kernel: BootKernel, steps: Steps, *, foreign: bool) -> ModuleInfo:
    """Look at a module before it is loaded.

    Args:
        path: The module.
        kernel: The kernel that is to load it.
        steps: Reports what was found.
        foreign: Whether it is somebody else's.

    Raises:
        UsageError: The kernel would refuse somebody else's module, or break.
        LabError: The same of our own.
        ModuleFileError: It is no kernel module.
    """
    with steps.step("inspect"):
        info = module.read(path)
        found = diagnosis.diagnose(info, kernel.tree)
    problems = [_words(one) for one in found if one.level == "problem"]
    for one in found:
        if one.level == "warning":
            steps.say(f"{path.name}: {_words(one)}")
    if problems:
        listed = "\n".join(f"  {line}" for line in problems)
        text = (
            f"{path} is not fit to be loaded by Linux {kernel.release}, so it was not:\n{listed}\n"
            f"More about it: python3 -m kpatch inspect {path}"
        )
        raise UsageError(text) if foreign else LabError(text)
    return info


def _words(finding: Finding) -> str:
    return " ".join(part for part in (finding.what, finding.why, finding.do) if part)
