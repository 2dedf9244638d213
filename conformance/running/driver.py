# SPDX-License-Identifier: GPL-2.0-only
"""Renders and builds the driver of a device: for the lab, for this machine, for mutants of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from conformance.running import locked, paths
from conformance.running.steps import Steps
from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.kernel import kbuild
from kpatch.kernel.features import Features, probe
from kpatch.kernel.tree import KernelTree
from kpatch.render import render
from kpatch.render.form import Form
from kpatch.tools import programs

BUILD_LOG = "build.log"


def build(
    device: Device,
    tree: KernelTree,
    key: str,
    logs: Path,
    steps: Steps,
    *,
    protocols: tuple[Protocol, ...] = ("v1",),
    warnings: bool = True,
) -> Path:
    """Return the module; what has not changed is used again.

    Args:
        device: The device.
        tree: The kernel to build for.
        key: Names the kernel in the cache.
        logs: Where the log of the build is left, whatever happens.
        steps: Reports progress to the user.
        protocols: The versions of the migration protocol that it speaks.
        warnings: Whether kbuild's extra checks run; they need Perl.

    Raises:
        KpatchError: The driver cannot be rendered or does not build.
    """
    form = Form(protocols=protocols)
    work = paths.cache() / "builds" / f"{device.name}-{form.name}-{key}"
    log = work / BUILD_LOG
    with locked.lock(work.with_suffix(".lock"), lambda: steps.say("Waiting for another build.")):
        try:
            with steps.step("probe"):
                found = features(tree, key)
            with steps.step("render"):
                render.render(device, found, work / "src", form=form)
            with steps.step("build"):
                return kbuild.build(work / "src", tree, warnings=warnings, log=log)
        finally:
            if log.exists() and not programs.dry():
                shutil.copyfile(log, logs / BUILD_LOG)


def sources(
    device: Device, tree: KernelTree, key: str, protocols: tuple[Protocol, ...] = ("v1",)
) -> dict[str, str]:
    """Return name and text of each source of the driver, rendered for a kernel.

    Raises:
        KpatchError: It cannot be rendered.
    """
    return render.texts(device, features(tree, key), form=Form(protocols=protocols))


def features(tree: KernelTree, key: str) -> Features:
    """Return which APIs a kernel has; it is probed once.

    Raises:
        KpatchError: The probe does not build.
    """
    probes = paths.cache() / "probes"
    # Drivers of other devices are built for the same kernel at the same time.
    with locked.lock(probes / f"{key}.lock"):
        return probe(tree, probes / key)
