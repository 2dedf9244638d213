# SPDX-License-Identifier: GPL-2.0-only
"""Builds a kernel from the source package in an image's root and installs it there.

The result has the layout of the distribution's packages of a kernel and its headers: the kernel
in /boot, its modules in /lib/modules/RELEASE, and below them in `build` the tree in which further
modules are built. Needs a kernel of 6.6 or later, which can make that tree itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import KernelError
from conformance.lab.image import kernelconfig
from conformance.running import locked
from conformance.running.steps import Steps
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

SPACE = 4 << 30
"""Peak disk use of a build in bytes: the sources, 1.8 GB, and the objects."""

_TIMEOUT = 3600.0
_PROGRESS = 30.0
"""Seconds between two progress lines of a build."""

_FRAGMENT = "fragment.config"
_MAKE = ("make", f"-j{os.cpu_count() or 1}")


@dataclass(frozen=True)
class KernelBuild:
    """A kernel that is to be built.

    Attributes:
        root: The unpacked root, with compiler and source package; gets the kernel.
        package: The source package, for instance ``linux-source-6.12``.
        fragment: The requested options; all others are off.
        patches: What is changed in the sources, in order.
        work: An empty folder for the build, outside the root.
        log: Takes the output.
    """

    root: Path
    package: str
    fragment: Path
    patches: tuple[Path, ...]
    work: Path
    log: Path

    def install(self, steps: Steps) -> None:
        """Configure, build and install it.

        Raises:
            KernelError: The kernel cannot be configured as the fragment says.
            ProgramFailed: It does not build.
        """
        self._source.mkdir()
        self._stage.mkdir()
        unpack, *patch, configure, build = self.commands()
        steps.say("  unpacking the kernel's source")
        self._run(unpack)
        for path, argv in zip(self.patches, patch, strict=True):
            (self._source / path.name).write_bytes(path.read_bytes())
            self._run(argv)
        (self._source / _FRAGMENT).write_bytes(self.fragment.read_bytes())
        self._run(configure)
        self._check()
        steps.say("  building the kernel, which takes from 3 to 10 minutes")
        with steps.compiling(self.log):
            self._run(build)
        self._put_in_place()
        (self.root / "usr/src" / f"{self.package}.tar.xz").unlink()  # large, and done with

    def commands(self) -> list[list[str]]:
        """Return what is run inside the root: to unpack, each patch, to configure, to build."""
        archive = f"/usr/src/{self.package}.tar.xz"
        # Without fuzz: a patch that only nearly fits may end up in another function.
        patch = ["patch", "--batch", "--strip=1", "--fuzz=0", "--input"]
        return [
            ["tar", "--extract", "--file", archive, "--strip-components=1"],
            *([*patch, path.name] for path in self.patches),
            [*_MAKE, f"KCONFIG_ALLCONFIG={_FRAGMENT}", "allnoconfig"],
            # The machine may be somebody's desk: everything else comes first.
            ["nice", "-n", "19", *_MAKE, "bzImage", "modules"],
        ]

    @property
    def _source(self) -> Path:
        return self.work / "linux"

    @property
    def _stage(self) -> Path:
        return self.work / "stage"

    def _check(self) -> None:
        wanted = self.fragment.read_text(encoding="utf-8")
        config = (self._source / ".config").read_text(encoding="utf-8")
        kernelconfig.check(wanted, config, self._kconfigs(), self.fragment.name)

    def _kconfigs(self) -> Iterator[str]:
        for path in self._source.rglob("Kconfig*"):
            if path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")

    def _put_in_place(self) -> None:
        release = (self._source / "include/config/kernel.release").read_text("utf-8").strip()
        modules = self._stage / "lib/modules" / release
        # Stripped, for the guest; depmod comes next.
        options = [f"INSTALL_MOD_PATH={self._stage}", "INSTALL_MOD_STRIP=1", "DEPMOD=true"]
        self._run([*_MAKE, "modules_install", *options])
        self._run(["depmod", "-b", str(self._stage), release])
        tree = modules / "build"
        tree.unlink(missing_ok=True)  # a link to here
        script = "$(srctree)/scripts/package/install-extmod-build"
        self._run([*_MAKE, "run-command", f"KBUILD_RUN_COMMAND={script} {tree}"])
        if not (tree / "Module.symvers").exists():
            raise KernelError(
                f"The source package {self.package} cannot make a tree to build modules in, "
                "which Linux can from 6.6 on. Name the source package of a later kernel."
            )
        locked.remove(self.root / "usr/lib/modules" / release)
        (self.root / "usr/lib/modules").mkdir(parents=True, exist_ok=True)
        modules.rename(self.root / "usr/lib/modules" / release)
        boot = self.root / "boot"
        (self._source / "arch/x86/boot/bzImage").rename(boot / f"vmlinuz-{release}")
        (self._source / ".config").rename(boot / f"config-{release}")
        (self._source / "System.map").rename(boot / f"System.map-{release}")

    def _run(self, argv: list[str]) -> None:
        binds = [self._source, self._stage]
        # A kernel built twice of the same is the same, so nobody's name and time are in it.
        env = {
            "KBUILD_BUILD_USER": "lab",
            "KBUILD_BUILD_HOST": "lab",
            "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
        }
        argv = Sandbox(self.root).argv(argv, bind=binds, cwd=self._source, env=env)
        programs.run(argv, log=self.log, timeout=_TIMEOUT)
