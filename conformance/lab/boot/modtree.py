# SPDX-License-Identifier: GPL-2.0-only
"""Reads a kernel's folder of modules: dependencies as depmod wrote them."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import KernelError


def module_name(path: str | Path) -> str:
    """Return the name by which the kernel knows the module in a file.

    >>> module_name("kernel/drivers/vfio/pci/vfio-pci-core.ko.xz")
    'vfio_pci_core'
    """
    return Path(path).name.split(".ko")[0].replace("-", "_")


@dataclass(frozen=True)
class Step:
    """A module to load.

    Attributes:
        path: Its file, below the folder of modules.
        needed: Whether loading it must succeed; a soft dependency's need not.
    """

    path: str
    needed: bool


class ModuleTree:
    """The modules of one kernel.

    Args:
        folder: ``/lib/modules/RELEASE``, wherever it is.

    Raises:
        KernelError: It lacks what depmod writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._requires = {
            path: names.split() for path, names in _pairs(self._lines("modules.dep"), ":")
        }
        self._paths = {module_name(path): path for path in self._requires}
        self._builtin = {module_name(line) for line in self._lines("modules.builtin")}
        self._soft = dict(_soft_dependencies(self._lines("modules.softdep", optional=True)))
        self._visiting: set[str] = set()
        self._aliases = _aliases(self._lines("modules.alias", optional=True))

    def files(self) -> Iterator[str]:
        """Yield the path of each module below the folder."""
        yield from self._requires

    def load_order(self, names: Iterable[str]) -> list[Step]:
        """Return the files to load for these modules, each after what it depends on.

        What is built into the kernel needs none.

        Raises:
            KernelError: There is no such module.
        """
        steps: dict[str, bool] = {}
        for name in map(module_name, names):
            if name in self._builtin:
                continue
            if name not in self._paths:
                raise KernelError(
                    f"The kernel's modules in {self.folder} lack {name}, which the lab needs. "
                    f"Enable it in the kernel's configuration, as a module or built in."
                )
            self._visit(self._paths[name], steps, needed=True)
        return [Step(path, needed) for path, needed in steps.items()]

    def _visit(self, path: str, steps: dict[str, bool], *, needed: bool) -> None:
        if path in self._visiting or steps.get(path, False) or (path in steps and not needed):
            return  # soft dependencies may go round in circles
        self._visiting.add(path)
        # modules.dep lists the module that must come first last.
        for other in reversed(self._requires[path]):
            self._visit(other, steps, needed=needed)
        for wanted in self._soft.get(module_name(path), ()):
            for name in self._aliases.get(wanted, [module_name(wanted)]):
                if name in self._paths:
                    self._visit(self._paths[name], steps, needed=False)
        self._visiting.remove(path)
        steps[path] = needed

    def read(self, path: str) -> bytes:
        """Return the ELF file of a module, without its compression.

        Raises:
            KernelError: It cannot be read.
        """
        try:
            data = (self.folder / path).read_bytes()
            return lzma.decompress(data) if path.endswith(".xz") else data
        except (OSError, lzma.LZMAError) as error:
            raise KernelError(f"The module {self.folder / path} cannot be read: {error}") from error

    def _lines(self, name: str, *, optional: bool = False) -> list[str]:
        try:
            return (self.folder / name).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            if optional and isinstance(error, FileNotFoundError):
                return []
            raise KernelError(
                f"{self.folder / name} cannot be read: {error.strerror}. "
                "It is written by depmod when the kernel's modules are installed."
            ) from error


def _pairs(lines: Iterable[str], separator: str) -> Iterator[tuple[str, str]]:
    for line in lines:
        key, found, value = line.partition(separator)
        if found:
            yield key, value


def _soft_dependencies(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each module with what should be loaded before it, as modules.softdep has it."""
    for line in lines:
        keyword, *rest = line.split() or [""]
        if keyword == "softdep" and len(rest) > 1 and rest[1] == "pre:":
            before = rest[2 : rest.index("post:")] if "post:" in rest else rest[2:]
            yield module_name(rest[0]), before


def _aliases(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the modules that answer to a name; patterns are skipped, none is needed here."""
    found: dict[str, list[str]] = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and "*" not in words[1]:
            found.setdefault(words[1], []).append(words[2])
    return found
