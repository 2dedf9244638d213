# SPDX-License-Identifier: GPL-2.0-only
"""Builds a module with the kbuild of its kernel."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from kpatch.errors import BuildFailed, ProgramFailed, ProgramMissing, ProgramTimeout
from kpatch.kernel import kept
from kpatch.kernel.tree import KernelTree
from kpatch.tools import programs

logger = logging.getLogger(__name__)

_RECORD = ".kpatch-build.json"
_EXCERPT = 40  # lines


def build(source_dir: Path, tree: KernelTree, *, warnings: bool = True, log: Path) -> Path:
    """Build the module whose sources and Kbuild file are in a folder.

    What was built before is used again as far as nothing it was made from has changed. Warnings of
    the compiler are logged, also those of a module that is used again.

    Args:
        source_dir: The folder. It is also where the objects go.
        tree: The kernel to build for.
        warnings: Whether to ask for kbuild's extra warnings (W=1).
        log: File for the whole output.

    Returns:
        The module, a `.ko` file.

    Raises:
        BuildFailed: It does not build; the compiler's words are in the error.
        ProgramFailed: Make or the sandbox could not be started.
        KernelTreeError: The tree cannot build modules.
    """
    source_dir = source_dir.absolute()
    module = source_dir / f"{_name(source_dir)}.ko"
    record = source_dir / _RECORD
    key = _key(source_dir, tree, warnings)
    known = kept.load(record, key)
    if known is not None and module.exists():
        _report(known["warnings"])
        return module
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    record.unlink(missing_ok=True)
    output = _make(source_dir, tree, warnings, log)
    if programs.dry():
        return module
    if not module.exists():
        raise _failed(f"Kbuild made no {module.name}.", output, log, source_dir)
    found = warnings_in(output)
    kept.save(record, key, {"warnings": found}, tree, source_dir)
    _report(found)
    return module


def warnings_in(output: str) -> list[str]:
    r"""Return the warnings among the lines of a build, in order, each once.

    >>> warnings_in("  CC main.o\nmain.c:3:5: warning: unused\nmain.c:3:5: warning: unused\n")
    ['main.c:3:5: warning: unused']
    """
    found = (line.strip() for line in output.splitlines())
    return list(dict.fromkeys(line for line in found if re.search(r"\b(warning|WARNING): ", line)))


def excerpt(output: str) -> str:
    """Return the part of a failed build's output that says why.

    That begins with the first error, or with what the compiler says ahead of it.
    """
    lines = output.splitlines()
    bad = re.compile(
        r"\b(fatal )?error\b:|ERROR:|undefined!|multiple definition of|undefined reference to|"
        r"No rule to make|No such file|Killed"
    )
    first = next((number for number, line in enumerate(lines) if bad.search(line)), None)
    if first is None:
        return "\n".join(lines[-_EXCERPT:])
    while first and re.match(r"\S.*: In function|In file included|\s+from ", lines[first - 1]):
        first -= 1
    return "\n".join(lines[first : first + _EXCERPT])


def _make(source_dir: Path, tree: KernelTree, warnings: bool, log: Path) -> str:
    options = ["W=1"] * warnings
    # A kernel that can count which lines of a module are executed is there for that.
    options += ["GCOV_PROFILE=y"] * ("GCOV_KERNEL" in tree.config)
    # Objects of another kernel can look newer than the headers of this one.
    foreign = not _same_tree(source_dir, tree) and any(source_dir.glob("*.o"))
    try:
        for target in ("clean", "modules") if foreign else ("modules",):
            done = tree.make(source_dir, [target], options=options, log=log)
    except (ProgramMissing, ProgramTimeout):
        raise
    except ProgramFailed as error:
        output = log.read_text("utf-8", errors="replace") if log.exists() else ""
        compiled = [line for line in output.splitlines() if not line.startswith("$ ")]
        if not any(line.startswith("make") for line in compiled):
            raise
        message = f"The module in {source_dir} does not build for Linux {tree.release}."
        raise _failed(message, "\n".join(compiled), log, source_dir) from error
    return done.stdout + done.stderr


def _failed(message: str, output: str, log: Path, source_dir: Path) -> BuildFailed:
    return BuildFailed(message, log=excerpt(output), log_path=log, sources=source_dir)


def _name(source_dir: Path) -> str:
    """Return the name of the module that a folder's Kbuild makes."""
    for name in ("Kbuild", "Makefile"):
        file = source_dir / name
        if file.is_file():
            found = re.search(r"^obj-m\s*[:+]?=\s*(\S+)\.o\b", file.read_text("utf-8"), re.M)
            if found:
                return found[1]
    raise BuildFailed(
        f"The folder {source_dir} has no Kbuild file with a line `obj-m := NAME.o`.",
        log="",
        log_path=source_dir / "Kbuild",
        sources=source_dir,
    )


def _key(source_dir: Path, tree: KernelTree, warnings: bool) -> str:
    digest = hashlib.sha256(f"{tree.identity}\0{warnings}".encode())
    for path in _sources(source_dir):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _sources(source_dir: Path) -> Iterator[Path]:
    for path in sorted(source_dir.iterdir()):
        if path.name in {"Kbuild", "Makefile"} or (
            path.suffix in {".c", ".h", ".S"} and not path.name.endswith(".mod.c")
        ):
            yield path


def _same_tree(source_dir: Path, tree: KernelTree) -> bool:
    """Return whether the objects in a folder are of this tree, and remember the tree."""
    mark = source_dir / ".kpatch-tree"
    same = mark.exists() and mark.read_text("utf-8") == tree.identity
    if not same and not programs.dry():
        mark.write_text(tree.identity, "utf-8")
    return same


def _report(found: list[str]) -> None:
    for line in found:
        logger.warning("The compiler warns: %s", line)
