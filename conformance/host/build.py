# SPDX-License-Identifier: GPL-2.0-only
"""The module under test: rendered and built for the kernel that runs here, or somebody else's."""

from __future__ import annotations

from pathlib import Path

from conformance.errors import UsageError
from conformance.host.paths import HostPaths
from conformance.running import driver
from conformance.running.steps import Steps
from conformance.vfio.system import sysfs
from kpatch.device import load as descriptions
from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.errors import DescriptionError
from kpatch.kernel.tree import KernelTree


def description(wanted: str | None, name: str, host: HostPaths) -> Device:
    """Return the description of a function: the one that is asked for, or that has its ids.

    Raises:
        KpatchError: The description that is asked for is not there, or has mistakes.
        UsageError: No description of the kit is for the function.
    """
    if wanted:
        return descriptions.load(wanted)
    who = sysfs.function(name, sysfs=host.sysfs)
    for known in descriptions.names():
        try:
            device = descriptions.load(known)
        except DescriptionError:
            continue  # somebody works on it, and asks for another
        if (who.vendor, who.device) in [(one.vendor, one.device) for one in device.ids]:
            return device
    raise UsageError(
        f"{name} is a {who.vendor:04x}:{who.device:04x}, for which the kit has no description "
        f"(it has {', '.join(descriptions.names())}). Write one and name it with DEVICE, name a "
        f"module with MODULE, or judge the driver it is bound to: `run --device {name}`."
    )


def build(
    device: Device,
    tree: KernelTree,
    logs: Path,
    steps: Steps,
    protocols: tuple[Protocol, ...] = ("v1",),
) -> Path:
    """Render and build the driver of a device; what has not changed is used again.

    Args:
        device: The device.
        tree: The build tree of the running kernel.
        logs: Where the log of the build is left, whatever happens.
        steps: Reports progress to the user.
        protocols: The versions of the migration protocol that it speaks.

    Raises:
        KpatchError: The driver cannot be rendered or does not build.
    """
    key = f"here-{tree.release}-{tree.identity[:12]}"
    # kbuild's extra warnings run kernel-doc, whose Perl a test machine may lack.
    return driver.build(device, tree, key, logs, steps, protocols=protocols, warnings=False)
