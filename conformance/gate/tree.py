# SPDX-License-Identifier: GPL-2.0-only
"""The scratch tree that a series is applied to, and what of it can be built."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from conformance.gate.series import Series
from kpatch.errors import SourceTreeError
from kpatch.kernel import source
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository

VFIO = "drivers/vfio"
_TOPS = ("drivers", "samples", "fs", "net", "sound", "crypto", "lib", "security", "virt")
_VFIO_HEADER = re.compile(r"include/(?:uapi/)?linux/(?:vfio|mdev|iommufd)[\w.]*$")
# What kbuild, Kconfig and the scripts read beside what a series touches.
_WHOLE = ("scripts", "include", "arch/x86/include", VFIO)
_FILES = ("MAINTAINERS", "README", "COPYING", "CREDITS", ".clang-format", "Documentation/Changes")
_BUILD_FILES = re.compile(r"(?:Kconfig|Makefile|Kbuild)(?:[.-].*)?$")
_NOT_LOOKED_AT = {".git", "LICENSES", "tools"}


def prepare(tree: Path, series: Series, base: str, folder: Path, who: Identity) -> Repository:
    """Return a repository with the base of the series checked out.

    Args:
        tree: The user's tree; only read.
        series: What will be applied.
        base: The commit, in a git tree.
        folder: Where it goes; made here.
        who: Its committer.

    Raises:
        SourceTreeError: The tree lacks what the gate needs.
    """
    source.version(tree)
    for name in ("scripts/checkpatch.pl", "include/linux/kconfig.h"):
        source.read(tree, name)
    touched = {path for patch in series.patches for path in patch.paths if "\n" not in path}
    folders = {os.path.dirname(path) for path in touched} | set(buildable(touched))  # noqa: PTH120 - paths in a tree
    if git.top_of_git(tree):
        patterns = [f"{_pattern(one)}/" for one in sorted({*_WHOLE, *folders}) if one]
        patterns += [_pattern(one) for one in sorted({*_FILES, *touched})]
        patterns += ["/Makefile", "Kconfig*", "Makefile*", "Kbuild*"]
        return git.borrow(tree, base, folder, who, patterns)
    names = {*_build_files(tree), *(name for name in _FILES if (tree / name).is_file())}
    for one in {*_WHOLE, *(folder for folder in folders if folder)}:
        names |= set(_below(tree, one, deep=one in _WHOLE or one in buildable(touched)))
    names |= {path for path in touched if (tree / path).is_file()}
    title = f"Linux {source.version(tree)}, what the gate needs of it"
    return git.adopt({name: tree / name for name in sorted(names)}, folder, who, title)


def _pattern(path: str) -> str:
    """Return the pattern of .gitignore that means this path alone."""
    return "/" + re.sub(r"([*?\[\]\\ ])", r"\\\1", path)


def buildable(touched: Iterable[str]) -> list[str]:
    """Return the directories that have to be built for changes of these files.

    >>> buildable(["include/uapi/linux/vfio.h", "drivers/vfio/pci/qat/main.c", "MAINTAINERS"])
    ['drivers/vfio']
    >>> buildable(["drivers/net/ethernet/intel/igb/igb_main.c", "mm/vma.c"])
    ['drivers/net/ethernet/intel/igb']
    """
    found = set()
    for path in touched:
        if _VFIO_HEADER.match(path) or path.startswith(VFIO + "/"):
            found.add(VFIO)
        elif path.partition("/")[0] in _TOPS and path.count("/") > 1:
            found.add(os.path.dirname(path))  # noqa: PTH120
    # A directory inside another one is built with it.
    return sorted(one for one in found if not any(one.startswith(f"{up}/") for up in found))


def check_match(version: str, release: str) -> None:
    """Check that a source tree is of the version of the kernel it is to be built with.

    Raises:
        SourceTreeError: It is not; what is built would be for neither.
    """
    # Debian's release has an ABI name behind the version, or in place of its last number.
    wanted = re.match(r"\d+\.\d+(?:\.\d+)?", release)
    if not wanted or wanted[0] != re.sub(r"[-+].*", "", version):
        raise SourceTreeError(
            f"The source tree is Linux {version}, and the kernel to build with is {release}. "
            "Patched sources can only be built with the headers of their own version. Name the "
            "image of that version with --image, or a built tree of it with --kernel-tree."
        )


def _build_files(tree: Path) -> Iterator[str]:
    for where, folders, files in os.walk(tree):
        if Path(where) == tree:
            folders[:] = [one for one in folders if one not in _NOT_LOOKED_AT]
        for name in files:
            if _BUILD_FILES.match(name):
                yield str(Path(where, name).relative_to(tree))


def _below(tree: Path, folder: str, *, deep: bool) -> Iterator[str]:
    for where, folders, files in os.walk(tree / folder):
        if not deep:
            folders.clear()
        for name in files:
            yield str(Path(where, name).relative_to(tree))
