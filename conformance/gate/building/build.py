# SPDX-License-Identifier: GPL-2.0-only
"""Builds directories of a patched tree as modules of a kernel that is there already.

The sources are those of the tree, and so are the headers: they come before the installed ones, so
that a patched header is the one that is compiled. Configuration, generated headers and symbols are
those of the installed kernel. Objects stay, so that a patch costs only what it touches.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from conformance.gate import tree as gate_tree
from kpatch.errors import KernelTreeError, ProgramFailed, ProgramMissing, ProgramTimeout
from kpatch.kernel import kbuild
from kpatch.kernel.tree import KernelTree
from kpatch.tools.programs import run

_INCLUDES = ("arch/x86/include", "include", "arch/x86/include/uapi", "include/uapi")
_PLACED = re.compile(r"^(\S+?):\d+(?::\d+)?: (?:warning|error): (.*)$")
_LOOSE = re.compile(r"^(\S+): warning: (objtool: .*)$")
_MODPOST = re.compile(r"^(?:WARNING|ERROR): modpost: (.*)$")
_TIMEOUT = 3600


@dataclass(frozen=True)
class Outcome:
    """What came of a build.

    Attributes:
        built: Whether it went through.
        error: The compiler's words if it did not.
        warnings: How often each warning came, by file and text.
        lines: A line to show for each of them.
        modules: The modules, by name, with their files.
    """

    built: bool
    error: str
    warnings: Mapping[str, int]
    lines: Mapping[str, str]
    modules: Mapping[str, Path]


@dataclass(frozen=True)
class Builder:
    """Builds in one kernel.

    Attributes:
        place: The patched tree.
        tree: The kernel's build tree.
        sparse: Whether sparse checks what is compiled.
    """

    place: Path
    tree: KernelTree
    sparse: bool = True

    @property
    def identity(self) -> str:
        """What decides whether a result can be kept, in addition to the tree."""
        return self.tree.identity

    def fresh(self) -> Builder:
        """Return it with another look at what a build may have changed."""
        return self

    def check(self) -> None:
        """Check that what is needed is there.

        Raises:
            KernelTreeError: Sparse, or the compiler, is missing.
        """
        _ = self.tree.release, self.tree.symbols
        self.check_sparse()

    def folders(self, touched: list[str]) -> list[str]:
        """Return the directories that have to be built for changes of these files."""
        return gate_tree.buildable(touched)

    @property
    def vfio(self) -> str:
        """The directory to build for the VFIO modules."""
        return gate_tree.VFIO

    def ready(self, log: Path) -> None:
        """Prepare the tree, once it is there; nothing to do here, where the kernel is built."""

    def selftests(self, _log: Path) -> dict[str, Path] | None:
        """Build the tree's own tests of VFIO; None where they are for another kernel than runs."""
        return None

    def check_sparse(self) -> None:
        """Check that sparse is there, if it is to run.

        Raises:
            KernelTreeError: It is not.
        """
        if not self.sparse:
            return
        where = f"the image {self.tree.sandbox.root}" if self.tree.sandbox else "this host"
        try:
            self._run(["sparse", "--version"], None)
        except ProgramMissing as error:
            raise KernelTreeError(
                f"There is no sparse in {where}, which the gate checks sources with (C=1). "
                "Add the Debian package sparse, or skip it with --no-sparse."
            ) from error

    def build(self, folder: str, options: Mapping[str, str], log: Path) -> Outcome:
        """Build a directory of the tree.

        Args:
            folder: The directory.
            options: Configuration options to set in addition to the kernel's own, with y or m.
            log: File that the output is appended to.

        Raises:
            ProgramFailed: Make could not be started, or took an hour.
        """
        argv = ["make", "-C", str(self.tree.path), f"M={self.place / folder}", "W=1"]
        argv += [f"-j{os.cpu_count() or 1}", "--keep-going"]
        argv += ["LLVM=1"] * ("CC_IS_CLANG" in self.tree.config)
        argv += ["C=1", "CHECK=sparse"] if self.sparse else []
        argv += [f"CONFIG_{name}={value}" for name, value in options.items()]
        # What autoconf.h would say of them, for IS_ENABLED() in C.
        defines = [
            f"-DCONFIG_{name}{'_MODULE' * (value == 'm')}=1" for name, value in options.items()
        ]
        argv += [f"KCFLAGS={' '.join(defines)}"] * bool(defines)
        includes = " ".join(f"-I{self.place / include}" for include in _INCLUDES)
        argv += [f"NOSTDINC_FLAGS=-nostdinc {includes}", "modules"]
        order = self.place / folder / "modules.order"
        order.unlink(missing_ok=True)
        done = self._run(argv, log)
        output = done.stdout + done.stderr
        warnings, lines = warnings_in(output, self.place)
        built = done.returncode == 0
        error = "" if built else kbuild.excerpt(without_warnings(output, self.place))
        return Outcome(built, error, warnings, lines, modules_in(order) if built else {})

    def _run(self, argv: Sequence[str], log: Path | None) -> CompletedProcess[str]:
        try:
            if not self.tree.sandbox:
                return run(argv, log=log, env={"LC_ALL": "C.UTF-8"}, timeout=_TIMEOUT, check=False)
            show = [self.tree.path] if self.tree.host_path == self.tree.path else []
            inside = self.tree.sandbox.argv(argv, bind=[self.place], ro_bind=show, cwd=self.place)
            done = run(inside, log=log, timeout=_TIMEOUT, check=False)
        except (ProgramMissing, ProgramTimeout):
            raise
        except ProgramFailed as error:
            raise KernelTreeError(f"The build cannot be started: {error}") from error
        missing = re.search(r"bwrap: execvp ([^:\n]+): No such file", done.stderr)
        if missing:
            raise ProgramMissing(argv, missing[1], missing[1])
        return done


def modules_in(order: Path) -> dict[str, Path]:
    """Return the modules that a `modules.order` lists, by name, as far as they are there."""
    if not order.exists():
        return {}
    names = (Path(line) for line in order.read_text("utf-8", "surrogateescape").split())
    # Up to 6.12 they are listed with absolute paths, later below the directory that is built.
    files = [order.parent / name.with_suffix(".ko") for name in names]
    return {file.stem.replace("-", "_"): file for file in files if file.exists()}


def warnings_in(output: str, place: Path) -> tuple[dict[str, int], dict[str, str]]:
    r"""Return the warnings of a build's output: how often each came, and a line for each.

    A warning is known by its file and text, not by its line, which moves.

    >>> warnings_in("/t/a.c:3:5: warning: x [-Wy]\n/t/a.c:9:5: warning: x [-Wy]\n", Path("/t"))
    ({'a.c: x [-Wy]': 2}, {'a.c: x [-Wy]': 'a.c:3:5: warning: x [-Wy]'})
    """
    counts: Counter[str] = Counter()
    lines: dict[str, str] = {}
    for line in output.splitlines():
        text = line.strip().replace(f"{place}/", "")
        found = _PLACED.match(text) or _LOOSE.match(text)
        modpost = _MODPOST.match(text)
        if found:
            key = f"{found[1]}: {re.sub(r'0x[0-9a-f]+', '0x', found[2])}"
        elif modpost:
            key = f"modpost: {modpost[1]}"
        else:
            continue
        counts[key] += 1
        lines.setdefault(key, text)
    return dict(counts), lines


def new_warnings(outcome: Outcome, known: Mapping[str, int]) -> list[str]:
    """Return a line for each warning that is there more often than it was."""
    return [
        outcome.lines[key] for key, count in outcome.warnings.items() if count > known.get(key, 0)
    ]


def merged(known: Mapping[str, int], found: Mapping[str, int]) -> dict[str, int]:
    """Return what is known after a build: of what was not compiled again nothing was heard."""
    return {key: max(known.get(key, 0), found.get(key, 0)) for key in {**known, **found}}


def without_warnings(output: str, place: Path) -> str:
    """Return the output of a build without its warnings, and with short paths."""
    found: list[str] = []
    inside = False  # the lines of source that are shown below a warning
    for line in output.replace(f"{place}/", "").splitlines():
        inside = ": warning: " in line or (inside and re.match(r"\s*\d*\s*\|", line) is not None)
        if not inside:
            found.append(line)
    return "\n".join(found)
