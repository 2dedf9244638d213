# SPDX-License-Identifier: GPL-2.0-only
"""A kernel build tree: what it was built as, what it exports, and running kbuild in it."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from kpatch.errors import KernelTreeError
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

__all__ = ["KernelTree", "Symbol", "find"]


class Symbol(NamedTuple):
    """What Module.symvers says of an exported symbol.

    Attributes:
        crc: Its version; 0 in a kernel without module versions.
        module: The module that exports it: "vmlinux" or a path without suffix.
        gpl: Whether only modules with a GPL-compatible licence may use it.
        namespace: The namespace that a user must import, or an empty string.
    """

    crc: int
    module: str
    gpl: bool
    namespace: str


@dataclass(frozen=True)
class KernelTree:
    """A kernel build tree, of this host or of an image.

    Attributes:
        path: Its directory, as seen inside the sandbox if there is one. A directory that the
            sandbox does not have is one of the host's and is shown inside.
        sandbox: The root with the compiler and the tools that belong to the tree.
    """

    path: Path
    sandbox: Sandbox | None = None

    @cached_property
    def host_path(self) -> Path:
        """Where the tree is on this host."""
        if self.sandbox:
            inside = self.sandbox.inside(self.path)
            return inside if inside.is_dir() else self.path
        return self.path

    @cached_property
    def release(self) -> str:
        """The kernel release, what `uname -r` prints when it runs."""
        # Not include/config/kernel.release: in Debian 12's headers that is another one.
        text = self._read("include/generated/utsrelease.h")
        found = re.search(r'^#define UTS_RELEASE "(.*)"', text, re.MULTILINE)
        return found[1] if found else self._read("include/config/kernel.release").strip()

    @cached_property
    def config(self) -> Mapping[str, str]:
        """The configuration, without the prefix CONFIG_ and without what is not set."""
        lines = self._read("include/config/auto.conf").splitlines()
        pairs = (line.removeprefix("CONFIG_").partition("=") for line in lines)
        return MappingProxyType({key: value.strip('"') for key, eq, value in pairs if eq})

    @cached_property
    def symbols(self) -> Mapping[str, Symbol]:
        """The exported symbols by name."""
        found = {}
        for number, line in enumerate(self._read("Module.symvers").splitlines(), 1):
            try:
                crc, name, module, export, *rest = [*line.split("\t"), ""]
                crc_value = int(crc, 16)
            except ValueError as error:
                raise KernelTreeError(
                    f"{self.host_path}/Module.symvers is damaged in line {number}. "
                    "Build the kernel again, or install its headers package again."
                ) from error
            namespace = rest[0] if rest else ""
            found[name] = Symbol(crc_value, module, export.endswith("_GPL"), namespace)
        return MappingProxyType(found)

    @cached_property
    def vermagic(self) -> str:
        """What a module for this kernel carries as vermagic, as far as the configuration says."""
        parts = [self.release]
        parts += ["SMP"] * ("SMP" in self.config)
        if "PREEMPT_RT" in self.config:
            parts.append("preempt_rt")
        elif "PREEMPT_BUILD" in self.config or "PREEMPT" in self.config:
            parts.append("preempt")
        parts += ["mod_unload"] * ("MODULE_UNLOAD" in self.config)
        parts += ["modversions"] * ("MODVERSIONS" in self.config)
        if "ARM64" in self.config:
            parts.append("aarch64")
        return " ".join(parts)

    @cached_property
    def identity(self) -> str:
        """A hash of what decides whether something built for the tree can be kept."""
        digest = hashlib.sha256(f"{self.path}\0{self.host_path}\0{self.release}".encode())
        for name in ("Module.symvers", "include/config/auto.conf"):
            digest.update(self._read(name).encode())
        return digest.hexdigest()

    def check(self) -> None:
        """Check that modules, and this kind of module, can be built for the tree.

        Raises:
            KernelTreeError: They cannot; says what is missing.
        """
        _ = self.release, self.symbols
        if "VFIO_PCI_CORE" not in self.config:
            raise KernelTreeError(
                f"The kernel of {self.path}, {self.release}, was configured without "
                "CONFIG_VFIO_PCI_CORE, which a VFIO variant driver builds on. "
                "Use a kernel that has it as y or m, as those of the distributions do."
            )
        needed = ("vfio_pci_core_register_dev_region", "vfio_pci_core_ioctl_feature")
        missing = [name for name in needed if name not in self.symbols]
        if missing:
            raise KernelTreeError(
                f"The kernel of {self.path}, {self.release}, does not export {missing[0]}. "
                "A modular migration driver needs Linux 6.1 or later."
            )

    def make(
        self,
        source_dir: Path,
        targets: Sequence[str],
        *,
        options: Sequence[str] = (),
        log: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kbuild for the external module in `source_dir`.

        Args:
            source_dir: Folder with a Kbuild file; it is written to.
            targets: What to make there: "modules", "clean", an object.
            options: More options and variables for make.
            log: As for `programs.run`, like `check`.
            check: See there.

        Raises:
            ProgramFailed: Make failed, or could not be started.
        """
        source_dir = source_dir.absolute()
        argv = ["make", "-C", str(self.path), f"M={source_dir}", f"-j{os.cpu_count() or 1}"]
        # The compiler must be the kernel's own family: flags and plugins differ.
        argv += ["LLVM=1"] * ("CC_IS_CLANG" in self.config)
        argv += [*options, *targets]
        hint = "Does the tree belong to another machine, or lack its compiler?"
        if not self.sandbox:
            env = {"LC_ALL": "C.UTF-8"}
            return programs.run(argv, env=env, log=log, check=check, hint=hint, timeout=1800)
        outside = self.host_path == self.path
        argv = self.sandbox.argv(
            argv, bind=[source_dir], ro_bind=[self.path] if outside else [], cwd=source_dir
        )
        return programs.run(argv, log=log, check=check, hint=hint, timeout=1800)

    def _read(self, name: str) -> str:
        try:
            return (self.host_path / name).read_text(encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            where = f"{self.path}"
            if self.sandbox and self.host_path != self.path:
                where += f" in {self.sandbox.root}"
            raise KernelTreeError(
                f"{where} is not a kernel build tree in which modules can be built: "
                f"{name}: {error.strerror}. Name the `build` directory of a kernel's headers "
                "package, or of a kernel source tree that was built as a whole (with modules)."
            ) from error


def find(root: Path | None, path: Path | None = None) -> KernelTree:
    """Return the build tree to use.

    Args:
        root: The root of an image with compiler and headers; without it, this host.
        path: The tree; without it, that of the running kernel, or of the newest kernel in `root`.

    Raises:
        KernelTreeError: There is none.
    """
    if root is None:
        release = platform.release()
        tree = KernelTree(path or Path("/lib/modules", release, "build"))
        if not path and not tree.path.is_dir():
            raise KernelTreeError(
                f"The headers of the running kernel, {release}, are not installed: there is no "
                f"{tree.path}. Install the Debian package linux-headers-{release}, or name a "
                "tree with --kernel-tree or an image with --root."
            )
        return tree
    if not root.is_dir():
        raise KernelTreeError(f"There is no image root {root}. Name the folder it is unpacked in.")
    sandbox = Sandbox(root)
    if path:
        return KernelTree(path, sandbox)
    modules = sandbox.inside(Path("/lib/modules"))
    found = [one.name for one in (modules.iterdir() if modules.is_dir() else ())]
    # Not /lib/modules: the link there may be absolute, which only the sandbox follows right.
    built = [name for name in found if sandbox.inside(Path("/lib/modules", name, "build")).is_dir()]
    if not built:
        raise KernelTreeError(
            f"No kernel in {root}/lib/modules has its build tree there. "
            "Add the kernel's headers package to the image."
        )
    return KernelTree(Path("/lib/modules", max(built, key=_version), "build"), sandbox)


def _version(release: str) -> list[tuple[int, str]]:
    """Order releases as people do: 6.9 before 6.12, 6.12-rc1 before 6.12."""
    parts = re.findall(r"\d+|[^\d.]+", release)
    return [*((int(p), "") if p.isdigit() else (-1, p) for p in parts), (0, "")]
