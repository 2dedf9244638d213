# SPDX-License-Identifier: GPL-2.0-only
"""Scratch repositories, in which patches are made and tried.

Nothing of the user's is written: neither the tree, nor its index, branches or worktree list. A
scratch repository borrows the objects of a git tree, or imports the files that are needed of a
plain one. The user's git configuration is read for name and address only, so that hooks, signing
and aliases change nothing, and dates are fixed: the same input gives the same commits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kpatch.errors import ProgramFailed, SeriesError, SourceTreeError
from kpatch.tools import programs

EPOCH = 1591104875
"""Date of the first commit of a scratch repository where nothing else gives one, in seconds."""

_ISOLATED = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
_IMPORTER = ("kpatch", "kpatch@localhost")


@dataclass(frozen=True)
class Identity:
    """Who a patch is from."""

    name: str
    email: str

    def __str__(self) -> str:
        """As in a From: line."""
        return f"{self.name} <{self.email}>"


def identity(where: Path) -> Identity:
    """Return the user's name and address in git's configuration, as seen from `where`.

    Raises:
        SeriesError: There is none; nobody's name is made up.
    """
    found = []
    for key in ("user.name", "user.email"):
        done = programs.run(["git", "config", "--get", key], cwd=where, check=False, timeout=60)
        found.append(done.stdout.strip())
    if not all(found):
        raise SeriesError(
            "Patches and the MAINTAINERS entry need an author, and git does not know your name. "
            'Set both with: git config --global user.name "..." and user.email "...".'
        )
    return Identity(*found)


@dataclass(frozen=True)
class Repository:
    """A git repository that is ours to write.

    Attributes:
        path: Its working tree.
        who: Author and committer.
        log: File to which commands and their output are appended.
    """

    path: Path
    who: Identity
    log: Path | None = None

    def run(
        self,
        *arguments: str,
        check: bool = True,
        text: str | None = None,
        date: int = EPOCH,
        hint: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run git with these arguments; `text` is its input, `date` that of a commit."""
        env = {**_ISOLATED, **_names(self.who, date)}
        argv = ["git", "-c", "core.quotePath=false", "-c", "advice.detachedHead=false"]
        # Nothing of it outlives the run, and file systems are slow to promise that it does.
        argv += ["-c", "core.fsync=none", "-c", "core.hooksPath=/dev/null"]
        argv += ["-c", "gc.auto=0", "-c", "maintenance.auto=false"]
        return programs.run(
            [*argv, *arguments],
            cwd=self.path,
            env=env,
            check=check,
            input=text,
            log=self.log,
            timeout=900,
            hint=hint,
        )

    def out(self, *arguments: str) -> str:
        """Return what git prints, without the last newline."""
        return self.run(*arguments).stdout.rstrip("\n")

    def commit(self, message: str, date: int, *, signoff: bool = False) -> None:
        """Commit every change of the working tree.

        Raises:
            SeriesError: There is no change.
        """
        self.run("add", "--all", "--force", "--sparse", ".")
        options = ["--signoff"] * signoff
        argv = ["commit", "--quiet", *options, "--file=-"]
        try:
            self.run(*argv, text=message, date=date)
        except ProgramFailed as error:
            if self.run("diff", "--cached", "--quiet", check=False).returncode:
                raise
            raise SeriesError(
                f"The patch {message.splitlines()[0]!r} would be empty: the tree already has "
                "all of it. Name a tree without the series."
            ) from error


def top_of_git(tree: Path) -> bool:
    """Return whether a directory is the top of a git working tree."""
    return (tree / ".git").exists()


def user_git(tree: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a git command that only reads, in a tree of the user's."""
    env = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
    return programs.run(["git", *arguments], cwd=tree, env=env, check=check, timeout=300)


def outside(
    *arguments: str, cwd: Path, stdin: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a git command that needs no repository, and finds none; its status is the caller's.

    Args:
        arguments: The command.
        cwd: Directory to run it in.
        stdin: A file for its standard input, byte by byte.
    """
    env = {**_ISOLATED, "GIT_CEILING_DIRECTORIES": str(cwd.absolute().parent)}
    argv = ["git", "-c", "core.quotePath=false", *arguments]
    if stdin:
        argv = ["sh", "-c", 'exec "$@" <"$0"', str(stdin.absolute()), *argv]
    return programs.run(argv, cwd=cwd, env=env, check=False, timeout=300)


def resolve(tree: Path, revision: str) -> str:
    """Return the hash of a commit in a tree of the user's.

    Raises:
        SeriesError: There is no such commit.
    """
    done = user_git(tree, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False)
    if done.returncode:
        raise SeriesError(f"{tree} has no commit {revision!r}. {done.stderr.strip()}".strip())
    return done.stdout.strip()


def refuse_dirty(tree: Path) -> None:
    """Refuse a git tree with changes that are not committed: they would not be looked at.

    Raises:
        SourceTreeError: There are some.
    """
    done = user_git(tree, "status", "--porcelain", "--untracked-files=no")
    changed = [line[3:] for line in done.stdout.splitlines()]
    if changed:
        some = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
        raise SourceTreeError(
            f"{tree} has changes that are not committed ({some}). What is made or judged here are "
            "commits; commit or stash them."
        )


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Give a temporary folder that goes with the block, also on Ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix="kpatch-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def borrow(
    tree: Path, commit: str, folder: Path, who: Identity, paths: Sequence[str]
) -> Repository:
    """Return a repository that has a commit of a git tree checked out.

    Its objects stay those of the user's repository, which does not come to know of it.

    Args:
        tree: The user's tree.
        commit: The commit.
        folder: Where the repository goes; made here.
        who: Author of what will be committed.
        paths: Patterns, as of .gitignore, of what is checked out; everything without any.
    """
    form = user_git(tree, "rev-parse", "--show-object-format", check=False).stdout.strip()
    repository = _init(folder, who, form or "sha1")
    store = repository.path / ".git"
    lend(tree, folder)
    if paths:
        repository.run("config", "core.sparseCheckout", "true")
        (store / "info").mkdir(exist_ok=True)
        (store / "info/sparse-checkout").write_text("\n".join([*paths, ""]), "utf-8")
    with objects_of(tree):
        repository.run("checkout", "--quiet", "--detach", commit)
    return repository


@contextlib.contextmanager
def objects_of(tree: Path) -> Iterator[None]:
    """Say of a partial clone what it lacks, if git misses an object of it in a block.

    Raises:
        SourceTreeError: It does; only the user's own git may fetch from where it was cloned.
    """
    try:
        yield
    except ProgramFailed as error:
        promised = ("config", "--get-regexp", r"^remote\..*\.promisor$")
        if "unable to read" in error.tail and not user_git(tree, *promised, check=False).returncode:
            raise SourceTreeError(
                f"{tree} is a partial clone that lacks files of these commits. Fetch the rest: "
                f"git -C {tree} fetch --refetch --no-filter"
            ) from error
        raise


def lend(tree: Path, folder: Path) -> None:
    """Let a scratch repository in `folder` read the objects of a git tree."""
    objects = user_git(tree, "rev-parse", "--git-path", "objects").stdout.strip()
    shallow = user_git(tree, "rev-parse", "--git-path", "shallow").stdout.strip()
    store = folder / ".git"
    (store / "objects/info/alternates").write_text(f"{(tree / objects).resolve()}\n", "utf-8")
    with contextlib.suppress(FileNotFoundError):
        shutil.copy(tree / shallow, store / "shallow")


def adopt(files: Mapping[str, Path], folder: Path, who: Identity, message: str) -> Repository:
    """Return a repository with copies of files as its only commit.

    Args:
        files: The path of each in the repository, with the file to copy.
        folder: Where the repository goes; made here.
        who: Author of what will be committed on top.
        message: The commit's message.
    """
    repository = _init(folder, Identity(*_IMPORTER), "sha1")
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # With its time: kbuild ignores it, a build before has it.
        shutil.copy2(source, target, follow_symlinks=False)
    repository.commit(message, EPOCH)
    return Repository(folder, who, repository.log)


def apply(repository: Repository, patch: Path) -> str:
    """Apply a patch as `git am` does and return the commit.

    Raises:
        ProgramFailed: It does not apply; the repository is as before.
    """
    try:
        repository.run("am", "--quiet", "--keep-non-patch", "--committer-date-is-author-date",
                       str(patch.absolute()))  # fmt: skip
    except ProgramFailed:
        repository.run("am", "--abort", check=False)
        raise
    return repository.out("rev-parse", "HEAD")


def _init(folder: Path, who: Identity, form: str) -> Repository:
    folder.mkdir(parents=True)
    repository = Repository(folder, who)
    repository.run("init", "--quiet", f"--object-format={form}", "--initial-branch=series",
                   "--template=")  # fmt: skip
    return repository


def _names(who: Identity, date: int) -> dict[str, str]:
    return {
        "GIT_AUTHOR_NAME": who.name,
        "GIT_AUTHOR_EMAIL": who.email,
        "GIT_AUTHOR_DATE": f"@{date} +0000",
        "GIT_COMMITTER_NAME": who.name,
        "GIT_COMMITTER_EMAIL": who.email,
        "GIT_COMMITTER_DATE": f"@{date} +0000",
    }
