# SPDX-License-Identifier: GPL-2.0-only
"""Kconfig of a patched tree: what the kernel's own `conf` makes of it.

An option must be able to be m and n, and neither may upset Kconfig. That an option also asks for
all it needs is not seen by a build against a distribution's kernel, which has about everything on.
So the smallest configuration with the option is made, and each symbol that the new module takes
from the kernel must be there in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from conformance.gate.input.commit import Patch
from kpatch.kernel.tree import KernelTree
from kpatch.module import info as module
from kpatch.tools.programs import run

_SMALL = ("64BIT", "MODULES", "PCI", "IOMMU_SUPPORT", "EXPERT")
_SMALL_MODULES = ("VFIO",)
KCONFIG = r"(?:.*/)?Kconfig[\w.-]*"
"""The paths of Kconfig files, as a regular expression."""

_OPTION = r"^\s*(?:menu)?config\s+(\w+)\s*$"
_NAME = re.compile(r"[A-Z][A-Z0-9_]+")
_NOISE = re.compile(r"warning: .*(?:GCC_PLUGIN|override: reassigning)")
# Where the symbols that drivers use are exported; the rest of the tree is not searched.
EXPORTERS = ("lib", "mm", "kernel", "virt", "crypto", "drivers/base", "drivers/pci",
             "drivers/iommu", "drivers/vfio")  # fmt: skip


def options_of(patch: Patch) -> list[str]:
    """Return the options that a patch adds; one that only moves is not new."""
    gone = re.findall(_OPTION, patch.removed(KCONFIG), re.M)
    found = dict.fromkeys(re.findall(_OPTION, patch.added(KCONFIG), re.M))
    return [name for name in found if name not in gone]


def touches(patch: Patch) -> bool:
    """Return whether a patch touches what this step looks at."""
    return any(re.search(r"(?:^|/)(?:Kconfig|Makefile|Kbuild)", path) for path in patch.touched)


@dataclass(frozen=True)
class Configured:
    """What `conf` made of a request.

    Attributes:
        options: Each option that is on, with y, m or its value.
        complaints: What else it printed.
    """

    options: Mapping[str, str]
    complaints: tuple[str, ...]


@dataclass(frozen=True)
class Kconfig:
    """The configuration of a patched tree.

    Attributes:
        place: The tree.
        tree: The kernel's build tree, which has `conf` and a configuration.
        work: A folder for its files.
    """

    place: Path
    tree: KernelTree
    work: Path

    @property
    def conf(self) -> Path:
        """The program, as seen where it runs."""
        return self.tree.path / "scripts/kconfig/conf"

    def available(self) -> bool:
        """Return whether it can be used: the program and a whole set of Kconfig files are there."""
        conf = self.tree.host_path / "scripts/kconfig/conf"
        return conf.exists() and (self.place / "arch/x86/Kconfig").is_file()

    def with_kernel(self, wanted: Mapping[str, str], log: Path) -> Configured:
        """Return the kernel's configuration with these options set."""
        text = "".join(f"CONFIG_{key}={value}\n" for key, value in self.tree.config.items())
        skip = tuple(f"CONFIG_{key}=" for key in wanted)
        lines = [line for line in text.splitlines() if not line.startswith(skip)]
        # auto.conf has strings without their quotes here; those are of no interest.
        lines = [line for line in lines if re.search(r"=(?:y|m|-?\d+|0x[0-9a-f]+)$", line)]
        lines += [_line(key, value) for key, value in wanted.items()]
        return self._run("--olddefconfig", lines, log)

    def smallest(self, option: str, needs: Iterable[str], log: Path) -> Configured:
        """Return a configuration with an option and as little else as possible."""
        lines = [_line(key, "y") for key in _SMALL] + [_line(key, "m") for key in _SMALL_MODULES]
        lines += [_line(key, "y") for key in needs if key not in (*_SMALL, *_SMALL_MODULES)]
        return self._run("--allnoconfig", [*lines, _line(option, "m")], log)

    def needs(self, option: str, files: Sequence[str]) -> list[str]:
        """Return the options that its `depends on` lines in these files name."""
        found: list[str] = []
        for name in files:
            path = self.place / name
            text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
            block = re.search(rf"^(?:menu)?config {option}\n((?:[ \t].*\n|\n)*)", text, re.M)
            for line in re.findall(r"^\s+depends on (.*)$", block[1] if block else "", re.M):
                found += _NAME.findall(re.sub(r"!\s*\w+|\w+\s*!?=\s*n\b", "", line))
        return list(dict.fromkeys(found))

    def _run(self, mode: str, lines: Sequence[str], log: Path) -> Configured:
        self.work.mkdir(parents=True, exist_ok=True)
        config = self.work / "config"
        config.write_text("\n".join([*lines, ""]), "utf-8")
        env = {
            "KCONFIG_CONFIG": str(config),
            "KCONFIG_ALLCONFIG": str(config),
            "srctree": ".",
            "objtree": ".",
            "ARCH": "x86",
            "SRCARCH": "x86",
            "KERNELVERSION": self.tree.release,
            "CC": "gcc",
            "HOSTCC": "gcc",
            "LD": "ld",
            "NM": "nm",
            "AR": "ar",
            "OBJCOPY": "objcopy",
            "RUSTC": "rustc",
            "BINDGEN": "bindgen",
            "PAHOLE": "pahole",
            "CONFIG_SHELL": "/bin/sh",
            "CC_VERSION_TEXT": "gcc",
        }
        if mode == "--allnoconfig":
            env["KCONFIG_CONFIG"] = str(self.work / "smallest")
            Path(env["KCONFIG_CONFIG"]).unlink(missing_ok=True)
        else:
            env.pop("KCONFIG_ALLCONFIG")
        done = self._conf([str(self.conf), mode, "Kconfig"], env, log)
        result = Path(env["KCONFIG_CONFIG"])
        text = result.read_text("utf-8", errors="replace") if result.exists() else ""
        text = "" if done.returncode else text
        options = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.M))
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = [re.sub(r"^(?:\./)?", "", line) for line in said if not _NOISE.search(line)]
        said = [line for line in said if str(config) not in line]
        if done.returncode:
            said.append(f"conf ended with status {done.returncode}")
        return Configured(options, tuple(said))

    def _conf(self, argv: list[str], env: Mapping[str, str], log: Path) -> CompletedProcess[str]:
        if self.tree.sandbox:
            show = [self.place] + [self.tree.path] * (self.tree.host_path == self.tree.path)
            argv = self.tree.sandbox.argv(
                argv, ro_bind=show, bind=[self.work], cwd=self.place, env=env
            )
            return run(argv, check=False, log=log, timeout=300)
        return run(argv, check=False, log=log, timeout=300, cwd=self.place, env=env)


def missing_needs(
    built: Path, small: Mapping[str, str], place: Path, tree: Path, kernel: KernelTree
) -> list[str]:
    """Return what a module takes from the kernel that its option does not ask for.

    Args:
        built: The module.
        small: The smallest configuration with its option.
        place: The patched tree.
        tree: A whole tree of the same version, for what is not in `place`.
        kernel: The kernel it was built for.
    """
    wanted = {import_.name for import_ in module.read(built).imports if not import_.weak}
    homes = _exporters(wanted, place, tree, kernel)
    found = []
    for name in sorted(homes):
        off = [[gate for gate in gates(home, place) if gate not in small] for home in homes[name]]
        if all(off) and not _conditional(name, off[0][0], place):
            found.append(
                f"{name}() is exported by {homes[name][0]}, which needs CONFIG_{off[0][0]}: "
                "nothing selects it or depends on it"
            )
    return found


def gates(path: str, place: Path) -> list[str]:
    """Return the options without which an object is not built, as far as its Makefiles say."""
    folder, _, name = path.rpartition("/")
    found = list(_object_gates(name, f"{folder}/", place))
    parts = folder.split("/")
    for depth in range(1, len(parts)):
        found += _object_gates(parts[depth] + "/", "/".join(parts[:depth]) + "/", place)
    return list(dict.fromkeys(found))


def _object_gates(name: str, folder: str, place: Path) -> Iterator[str]:
    text = ""
    for file in ("Kbuild", "Makefile"):
        path = place / folder / file
        text += path.read_text("utf-8", errors="replace") if path.is_file() else ""
    text = text.replace("\\\n", " ")
    wanted = re.escape(name)
    rule = rf"^\s*([\w-]+?)-(y|m|objs|\$\(CONFIG_(\w+)\))\s*[+:]?=(?:.*\s)?{wanted}(?:\s.*)?$"
    rules = re.findall(rule, text, re.M)
    if not rules or any(kind == "y" and target in ("obj", "lib") for target, kind, _ in rules):
        return
    options = {option for _, _, option in rules if option}
    if len(options) == 1 and all(option for _, _, option in rules):
        yield from options
    composite = {target for target, _, _ in rules} - {"obj", "lib"}
    if len(composite) == 1 and f"{next(iter(composite))}.o" != name:
        yield from _object_gates(f"{next(iter(composite))}.o", folder, place)


def _exporters(
    wanted: set[str], place: Path, tree: Path, kernel: KernelTree
) -> dict[str, list[str]]:
    """Return which objects of the tree each symbol comes from; one of them is built at a time."""
    found: dict[str, list[str]] = {}
    for name in wanted:
        symbol = kernel.symbols.get(name)
        # What is a module of its own names its place; what is built in has to be searched for.
        if symbol and symbol.module != "vmlinux":
            found[name] = [f"{symbol.module}.o"]
    export = re.compile(r"^EXPORT_SYMBOL\w*\((\w+)", re.M)
    rest = wanted - found.keys()
    for folder in EXPORTERS:
        root = place / folder if (place / folder).is_dir() and folder == "drivers/vfio" else None
        for path in sorted((root or tree / folder).rglob("*.c")):
            for name in rest.intersection(export.findall(path.read_text("latin-1"))):
                relative = path.relative_to(place if root else tree)
                found.setdefault(name, []).append(str(relative.with_suffix(".o")))
    return found


def _conditional(name: str, option: str, place: Path) -> bool:
    """Return whether a symbol is used only with an option: a header says so, or no header has it.

    In the first case there is a form of it for kernels without the option. In the second it is the
    compiler that calls it, as for a sanitizer.
    """
    test = re.compile(rf"^#\s*(?:if|ifdef|elif)\b.*\bCONFIG_{option}\b", re.M)
    texts = (path.read_text("latin-1") for path in sorted((place / "include/linux").glob("*.h")))
    found = [text for text in texts if re.search(rf"\b{name}\b", text)]
    return not found or any(test.search(text) for text in found)


def _line(key: str, value: str) -> str:
    return f"# CONFIG_{key} is not set" if value == "n" else f"CONFIG_{key}={value}"
