# SPDX-License-Identifier: GPL-2.0-only
"""Builds a QEMU that knows the saving layout: a distribution's source, and the kit's series on it.

It has what the innermost guest needs, and nothing else, so that it is built in minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from conformance.errors import QemuError
from conformance.lab.image import definitions, image
from conformance.lab.image.image import Image
from conformance.running import locked, paths
from conformance.running.steps import Steps
from kpatch.errors import ProgramFailed
from kpatch.series import qemu
from kpatch.tools import git, programs
from kpatch.tools.git import Identity

IMAGE = "qemu-build"
"""The image that it is built in."""

_PROGRAM = "qemu-system-x86_64"
_RECIPE = 1
"""Raised when this module makes another program of the same inputs."""

_TIMEOUT = 3600.0
_DEVICES = "CONFIG_I440FX=y\nCONFIG_SERIAL_ISA=y\nCONFIG_VFIO=y\nCONFIG_VFIO_PCI=y\n"
_CONFIGURE = (
    *("--target-list=x86_64-softmmu", "--without-default-devices", "--with-devices-x86_64=guest"),
    *("--without-default-features", "--enable-tcg", "--enable-system", "--disable-werror"),
    *("--disable-download", "--disable-docs", "--disable-tools", "--disable-guest-agent"),
    "--disable-install-blobs",
    "--enable-trace-backends=log",
)


def provide(source: Path, steps: Steps) -> Path:
    """Return the program; it is built once of a source and a series.

    Args:
        source: The unpacked source of QEMU; it is only read.
        steps: Reports progress to the user.

    Raises:
        SourceTreeError: It is not QEMU's source, or the series does not fit it.
        QemuError: It does not build.
        ImageError: There is no image to build it in.
    """
    changed = _changed(source)
    made = image.provide(definitions.image(IMAGE), steps)
    inputs = [_RECIPE, made.key, qemu.version(source), changed, _DEVICES, _CONFIGURE]
    name = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]
    folder = paths.cache() / "vmm" / f"qemu-{name}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked.lock(folder.parent / "qemu.lock"):
        if not folder.exists():
            with steps.step("qemu"), locked.whole_folder(folder) as part:
                steps.say("  building QEMU, which takes from 5 to 20 minutes")
                _build(source, changed, made, part)
    return folder / _PROGRAM


def _changed(source: Path) -> dict[str, str]:
    """Return the files of the source that the series changes, as it leaves them."""
    with git.scratch_folder() as folder:
        made = qemu.repository(source, folder / "tree", Identity("vmm", "vmm@localhost"))
        qemu.commit(made, source, date=git.EPOCH, signoff=False)
        return {name: (made.path / name).read_text("utf-8") for name in qemu.FILES}


def _build(source: Path, changed: dict[str, str], made: Image, part: Path) -> None:
    work, log = part / "source", part / "build.log"
    shutil.copytree(source, work, symlinks=True)
    for name, text in changed.items():
        (work / name).write_text(text, "utf-8")
    (work / "configs/devices/x86_64-softmmu/guest.mak").write_text(_DEVICES, "utf-8")
    build = work / "build"
    build.mkdir(exist_ok=True)
    jobs = f"-j{os.cpu_count() or 1}"
    try:
        for argv in (["../configure", *_CONFIGURE], ["nice", "-n", "19", "ninja", jobs, _PROGRAM]):
            inside = made.sandbox.argv(argv, bind=[work], cwd=build)
            programs.run(inside, log=log, timeout=_TIMEOUT)
        programs.run(made.sandbox.argv(["strip", _PROGRAM], bind=[work], cwd=build), timeout=60)
    except ProgramFailed as error:
        kept = paths.cache() / "vmm" / "qemu-build.log"
        shutil.copyfile(log, kept)
        raise QemuError(f"QEMU does not build; what was printed: {kept}. {error}") from error
    (build / _PROGRAM).rename(part / _PROGRAM)
    locked.remove(work)
