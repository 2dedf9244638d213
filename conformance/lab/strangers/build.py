# SPDX-License-Identifier: GPL-2.0-only
"""Builds a stranger for a kernel, from the source package of the same version."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import LabError, UsageError
from conformance.lab.boot.bootkernel import BootKernel
from conformance.lab.image.image import Image
from conformance.lab.strangers.definition import Stranger, kernel_version
from conformance.running import locked, paths
from conformance.running.steps import Steps
from kpatch.errors import ProgramFailed
from kpatch.kernel import kbuild
from kpatch.tools import programs

_FETCH_TIMEOUT = 1800.0
_BUILD_LOG = "build.log"


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        module: The driver.
        beside: Further modules that it needs and the kernel lacks.
    """

    module: Path
    companions: tuple[Path, ...] = ()


def build(
    stranger: Stranger, kernel: BootKernel, image: Image, logs: Path, steps: Steps
) -> Built | None:
    """Fetch the source and build the driver, unless they are cached.

    Args:
        stranger: The driver.
        kernel: The kernel to build for.
        image: The image, whose distribution has the source.
        logs: Where the log of the build is left.
        steps: Prints the steps.

    Returns:
        The modules; None in a dry run.

    Raises:
        UsageError: The kernel is older than the driver.
        LabError: The source is not available, or lacks a file.
        KpatchError: It does not build.
    """
    check_kernel(stranger, kernel.release)
    source = fetch(image, kernel.release, steps)
    work = paths.cache() / "builds" / f"stranger-{stranger.name}-{kernel.key}"
    if programs.dry() and not source.is_dir():
        return None
    with locked.lock(work.with_suffix(".lock"), lambda: steps.say("Waiting for another build.")):
        stage(stranger, source, work / "src")
        log = work / _BUILD_LOG
        try:
            with steps.step("build"):
                module = kbuild.build(work / "src", kernel.tree, warnings=False, log=log)
        finally:
            if log.exists() and not programs.dry():
                shutil.copyfile(log, logs / _BUILD_LOG)
    companions = (work / "src" / f"{stranger.stand_in}.ko",) if stranger.stand_in else ()
    return Built(module, companions)


def check_kernel(stranger: Stranger, release: str) -> None:
    """Raise :class:`UsageError` if a kernel is older than the driver."""
    if stranger.too_new(release):
        raise UsageError(
            f"The stranger {stranger.name} is in Linux {stranger.since} and later, and the kernel "
            f"is {release}. Choose another with --image."
        )


def fetch(image: Image, release: str, steps: Steps) -> Path:
    """Return the folder with the kernel's drivers and samples, unpacked once into the cache.

    Raises:
        LabError: The source package is not available.
    """
    version = ".".join(map(str, kernel_version(release)))
    suite = image.definition.suite
    # The kernel is that of the backports where the image takes it from there.
    if image.definition.kernel in image.definition.backports:
        suite += "-backports"
    script = paths.DATA / "kernel-source.sh"
    argv = ["bash", str(script), suite, "vfio", f"linux-source-{version}"]
    try:
        with steps.step("source"):
            done = programs.run(argv, timeout=_FETCH_TIMEOUT)
    except ProgramFailed as error:
        raise LabError(f"Cannot get the source of Linux {version} of {suite}.\n{error}") from error
    return Path(done.stdout.strip()) if done.stdout.strip() else paths.cache() / "kernel-source"


def stage(stranger: Stranger, source: Path, target: Path) -> None:
    """Put what is built into a folder; what has not changed is not touched.

    Raises:
        LabError: The source lacks a file of the driver.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts(stranger, source).items():
        path = target / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def texts(stranger: Stranger, source: Path) -> dict[str, str]:
    """Return name and text of each file that is built.

    Raises:
        LabError: The source lacks a file of the driver.
    """
    found = {"Kbuild": kbuild_file(stranger)}
    for path in (*(source / name for name in stranger.sources), *stranger.own_sources):
        if not path.is_file():
            raise LabError(
                f"The kernel's source lacks {path}, which {stranger.name} is built from."
            )
        found[path.name] = path.read_text(encoding="utf-8")
    return found


def kbuild_file(stranger: Stranger) -> str:
    """Return the Kbuild file."""
    module = stranger.module
    objects = [f"{Path(name).stem}.o" for name in stranger.sources if name.endswith(".c")]
    lines = [f"obj-m := {module}.o"]
    if objects != [f"{module}.o"]:
        lines.append(f"{module}-y := {' '.join(objects)}")
    if stranger.stand_in:
        lines.append(f"obj-m += {stranger.stand_in}.o")
    # The kernel may export the real ones, and no name is exported twice.
    lines += [f"ccflags-y += -D{name}=lab_{name}" for name in stranger.functions]
    return "\n".join([*lines, ""])
