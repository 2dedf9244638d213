# SPDX-License-Identifier: GPL-2.0-only
"""The scratch tree that a series is applied to, and what of it can be built."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from conformance.gate.input.series import Series
from kpatch.errors import SourceTreeError
from kpatch.kernel import source
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository

VFIO = "drivers/vfio"
_TOPS = ("drivers", "samples", "fs", "net", "sound", "crypto", "lib", "security", "virt")
_VFIO_HEADER = re.compile(r"include/(?:uapi/)?linux/(?:vfio|mdev|iommufd)[\w.]*$")
# What kbuild, Kconfig and the scripts read in addition to what a series touches.
_WHOLE = ("scripts", "include", "arch/x86/include", VFIO)
_FILES = ("MAINTAINERS", "README", "COPYING", "CREDITS", ".clang-format", "Documentation/Changes")
_BUILD_FILES = re.compile(r"(?:Kconfig|Makefile|Kbuild)(?:[.-].*)?$")
_IMPORTED = "The tree that the gate was given"
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


def whole(tree: Path, base: str, folder: Path, who: Identity) -> Repository:
    """Return a repository with all of a tree, which stays from run to run with what is built in it.

    Args:
        tree: The user's tree; only read.
        base: The commit, in a git tree; empty for a plain one.
        folder: Where it is, or goes.
        who: Its committer.
    """
    repository = Repository(folder, who)
    if not (folder / ".git/HEAD").exists():
        shutil.rmtree(folder, ignore_errors=True)  # half made
        if base:
            return git.borrow(tree, base, folder, who, [])
        names = sorted(_below(tree, "", deep=True))
        return git.adopt({name: tree / name for name in names}, folder, who, _IMPORTED)
    for lock in (folder / ".git").glob("*.lock"):
        lock.unlink()  # of a run that was killed; the gate holds a lock of its own
    repository.run("am", "--abort", check=False)
    if base:
        git.lend(tree, folder)
        with git.objects_of(tree):
            repository.run("checkout", "--quiet", "--force", "--detach", base)
        return repository
    imported = repository.out("log", "--all", "--format=%H", "--max-count=1", f"--grep={_IMPORTED}")
    repository.run("checkout", "--quiet", "--force", "--detach", imported)
    _follow(tree, repository)
    return repository


def _follow(tree: Path, repository: Repository) -> None:
    """Bring what was imported of a plain tree up to date, and commit what has changed."""
    old = set(repository.run("ls-files", "-z").stdout.split("\0")) - {""}
    new = set(_below(tree, "", deep=True))
    changed = [name for name in sorted(new) if not _same(tree / name, repository.path / name)]
    for name in old - new:
        (repository.path / name).unlink(missing_ok=True)
    for name in changed:
        target = repository.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(tree / name, target, follow_symlinks=False)
    names = [*changed, *sorted(old - new)]
    if names:
        repository.run("add", "--all", "--force", "--pathspec-from-file=-", "--pathspec-file-nul",
                       text="\0".join(f":(literal){name}" for name in names))  # fmt: skip
        if repository.run("diff", "--cached", "--quiet", check=False).returncode:
            repository.run("commit", "--quiet", "--file=-", text=_IMPORTED)


def _same(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    if not other.exists():
        return False
    # Not by time: a patch that was applied and taken back has touched the file.
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


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
            folders[:] = [folder for folder in folders if folder not in _NOT_LOOKED_AT]
        for name in files:
            if _BUILD_FILES.match(name):
                yield str(Path(where, name).relative_to(tree))


def _below(tree: Path, folder: str, *, deep: bool) -> Iterator[str]:
    for where, folders, files in os.walk(tree / folder):
        if not deep:
            folders.clear()
        links = [name for name in folders if Path(where, name).is_symlink()]
        for name in [*files, *links]:
            yield str(Path(where, name).relative_to(tree))
