# SPDX-License-Identifier: GPL-2.0-only
"""Applies patches with `git am` and reads what git made of them: that is what is judged."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.gate.input.mail import Mail
from kpatch.errors import ProgramFailed
from kpatch.tools import git
from kpatch.tools.git import Repository


class DoesNotApply(Exception):
    """`git am` refuses a patch.

    Args:
        reason: Why, in a line.
        lines: What git says.
    """

    def __init__(self, reason: str, lines: tuple[str, ...]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lines = lines


@dataclass(frozen=True)
class Patch:
    """A patch that was applied.

    Attributes:
        path: The file, in the form of `git format-patch` whatever it was sent in.
        subject: The first line of the commit message.
        body: The rest of it, with the trailers.
        diff: The changes, where a moved file shows what changed in it.
        files: Each file it touches, with A (added), M, D (deleted) or T (another type). A moved
            file is deleted in its old place and added in its new one.
    """

    path: Path
    subject: str
    body: str
    diff: str
    files: tuple[tuple[str, str], ...]

    @property
    def message(self) -> str:
        """The commit message."""
        return f"{self.subject}\n\n{self.body}\n"

    @property
    def touched(self) -> list[str]:
        """The files that it touches, in their old places and their new ones."""
        return [path for path, _ in self.files]

    @property
    def created(self) -> list[str]:
        """The files that are new in their place."""
        return [path for path, status in self.files if status == "A"]

    def added(self, path: str) -> str:
        """Return the lines that it adds to files whose path matches a regular expression."""
        return self._lines(path, "+")

    def removed(self, path: str) -> str:
        """Return the lines that it takes out of such files."""
        return self._lines(path, "-")

    def _lines(self, path: str, sign: str) -> str:
        parts = re.split(r"^(?=diff --git )", self.diff, flags=re.M)
        wanted = (part for part in parts if re.match(rf"diff --git a/.* b/(?:{path})\n", part))
        hunks = (re.split(r"^@@ ", part, flags=re.M)[1:] for part in wanted)
        return "\n".join(
            line[1:]
            for part in hunks
            for hunk in part
            for line in hunk.split("\n")[1:]
            if line.startswith(sign)
        )


def apply(repository: Repository, mail: Mail, target: Path, log: Path) -> Patch:
    """Apply a mail as `git am` does and return the patch that came of it.

    Args:
        repository: The scratch repository; as before if the patch does not apply.
        mail: The mail.
        target: The file to write the patch to.
        log: File for git's output.

    Raises:
        DoesNotApply: Git refuses it.
    """
    try:
        git.apply(replace(repository, log=log), mail.path)
    except ProgramFailed as error:
        if error.status == 127:
            raise
        lines = tuple(line for line in error.tail.splitlines() if not line.startswith("hint:"))
        raise DoesNotApply(_reason(lines), lines) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    repository.run("format-patch", "-1", "-N", "--quiet", "--no-signature", "--always",
                   f"--output={target}", "HEAD")  # fmt: skip
    return _read(repository, target)


def _read(repository: Repository, path: Path) -> Patch:
    message = repository.run("log", "-1", "--format=%B", "HEAD").stdout
    subject, _, body = message.strip("\n").partition("\n")
    diff = repository.run("diff-tree", "-p", "-M", "--no-commit-id", "--no-color", "HEAD").stdout
    listed = repository.run(
        "diff-tree", "-r", "-z", "--no-renames", "--no-commit-id", "--name-status", "HEAD"
    ).stdout.split("\0")
    files = tuple(zip(listed[1::2], listed[::2], strict=False))
    return Patch(path, subject, body.strip("\n"), diff, files)


def _reason(lines: tuple[str, ...]) -> str:
    if any("quoted CRLF detected" in line for line in lines):
        return (
            "does not apply: its lines end in CRLF inside encoded text "
            "(git am --quoted-cr=strip takes it)"
        )
    if any("Patch format detection failed" in line for line in lines):
        return (
            "does not apply: it is no mail with a patch, which begins with lines From:, Date: and "
            "Subject: (git format-patch writes them)"
        )
    if any("empty ident name" in line for line in lines):
        return "does not apply: it names no author, in a line From: Name <mail@host>"
    said = [line for line in lines if re.match(r"(?:error|fatal): ", line)]
    first = (said or [line for line in lines if line.strip()] or ["git am does not say why"])[0]
    return "does not apply: " + re.sub(r"^(?:error|fatal): ", "", first)
