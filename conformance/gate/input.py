# SPDX-License-Identifier: GPL-2.0-only
"""The series that the gate judges: a folder of patches, a mailbox, or commits of a git tree."""

from __future__ import annotations

import email
import email.header
import email.policy
import re
from dataclasses import dataclass
from pathlib import Path

from kpatch.errors import SeriesError
from kpatch.series import mail as series_mail
from kpatch.tools import git, programs
from kpatch.tools.git import Identity

_DIFF = re.compile(r"^(?:diff --git |--- (?:a/|/dev/null))", re.M)


@dataclass(frozen=True)
class Patch:
    """A patch as it was mailed, or would be.

    Attributes:
        path: The file.
        subject: The subject without prefixes in brackets.
        body: The message behind the subject, with the trailers, as it goes into the commit.
        diff: The changes; empty in a patch that has none.
    """

    path: Path
    subject: str
    body: str
    diff: str

    @property
    def touched(self) -> list[str]:
        """The files that it changes, by their new name; one that goes by its old one."""
        found = re.findall(r"^diff --git a/.* b/(.*)$", self.diff, re.M)
        found = found or re.findall(r"^\+\+\+ b/([^\t\n]*)", self.diff, re.M)
        return list(dict.fromkeys(found))

    @property
    def created(self) -> list[str]:
        """The files that are new with it."""
        return re.findall(r"^--- /dev/null\n\+\+\+ b/([^\t\n]*)", self.diff, re.M) or re.findall(
            r"^diff --git a/.* b/(.*)\nnew file mode", self.diff, re.M
        )

    def added(self, path: str) -> str:
        """Return the lines that it adds to files whose path matches a regular expression."""
        parts = re.split(r"^(?=diff --git )", self.diff, flags=re.M)
        wanted = (part for part in parts if re.match(rf"diff --git a/.* b/(?:{path})\n", part))
        lines = (line for part in wanted for line in part.splitlines())
        return "\n".join(line[1:] for line in lines if re.match(r"\+(?!\+\+ b/)", line))


@dataclass(frozen=True)
class Series:
    """What is judged.

    Attributes:
        patches: In order.
        base: The commit they are for, if that is known.
    """

    patches: tuple[Patch, ...]
    base: str = ""


def read(what: str, tree: Path, folder: Path, who: Identity) -> Series:
    """Read a series.

    Args:
        what: A folder, a mailbox file, or a range of commits of the tree.
        tree: The kernel source tree.
        folder: Where patches that are no files of their own go.
        who: For the scratch repository.

    Raises:
        SeriesError: It is none of these, or has no patches.
    """
    path = Path(what)
    if path.is_dir():
        return _of_files(series_mail.patches_in(path))
    if path.is_file():
        return _of_files(_split(path, folder))
    if ".." in what:
        return _of_range(what, tree, folder, who)
    raise SeriesError(
        f"{what} is neither a folder of patches, nor a mailbox file, nor a range of commits "
        "(BASE..TIP)."
    )


def parse(path: Path) -> Patch:
    """Read one patch.

    Raises:
        SeriesError: It cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SeriesError(f"{path} cannot be read: {error.strerror}.") from error
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    header = email.header.make_header(email.header.decode_header(message.get("Subject", "")))
    subject = re.sub(r"\s*\n\s*", " ", str(header))
    subject = re.sub(r"^(?:\s*\[[^]]*\])+\s*|^Re:\s*", "", subject).strip()
    payload = message.get_payload(decode=True)
    text = payload.decode("utf-8", errors="replace") if isinstance(payload, bytes) else ""
    text = "\n" + text.replace("\r\n", "\n")  # a message without text begins with the dashes
    body, _, rest = text.partition("\n---\n")
    start = _DIFF.search(text)
    if not rest or (start and start.start() < len(body)):
        body = text[: start.start()] if start else text
    diff = text[start.start() :] if start else ""
    body = re.sub(r"\A(?:(?:From|Subject|Date): .*\n)+\n", "", body.lstrip("\n"))
    return Patch(path, subject, body.strip("\n"), re.split(r"^-- \n", diff, flags=re.M)[0])


def _of_files(paths: list[Path]) -> Series:
    patches = [parse(path) for path in paths]
    found = tuple(one for one in patches if one.diff or "0/" not in _prefix(one.path))
    if not found:
        raise SeriesError("The series has no patch, only a cover letter.")
    text = "".join(path.read_text("utf-8", errors="replace") for path in _with_cover(paths))
    base = re.search(r"^base-commit: ([0-9a-f]{7,64})$", text, re.M)
    return Series(found, base[1] if base else "")


def _with_cover(paths: list[Path]) -> list[Path]:
    covers = sorted(paths[0].parent.glob("*0000-cover-letter.patch"))
    return [*paths, *covers]


def _prefix(path: Path) -> str:
    found = re.search(rb"^Subject: (?:Re: )?\[([^]]*)\]", path.read_bytes(), re.M)
    return found[1].decode("utf-8", errors="replace").replace(" 00/", " 0/") if found else ""


def _split(mailbox: Path, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    argv = ["git", "mailsplit", "-d4", f"-o{folder}", str(mailbox.absolute())]
    done = programs.run(argv, check=False, timeout=120)
    found = sorted(folder.iterdir())
    if done.returncode or not found:
        raise SeriesError(
            f"{mailbox} is not a mailbox with patches: {done.stderr.strip() or 'no mail in it'}. "
            "`b4 am` and `git format-patch --stdout` write one."
        )
    wanted = []
    for path in found:
        one = parse(path)
        if one.diff and not re.search(rb"^Subject: Re:", path.read_bytes(), re.M):
            wanted.append(path)
    if not wanted:
        raise SeriesError(f"No mail in {mailbox} has a patch.")
    return wanted


def _of_range(what: str, tree: Path, folder: Path, who: Identity) -> Series:
    if not git.top_of_git(tree):
        raise SeriesError(f"{tree} is not a git tree, so {what} means nothing there.")
    first, _, last = what.partition("..")
    base, tip = git.resolve(tree, first or "HEAD"), git.resolve(tree, last.lstrip(".") or "HEAD")
    repository = git.borrow(tree, base, folder / "range", who, ["/MAINTAINERS"])
    merges = repository.out("rev-list", "--merges", f"{base}..{tip}")
    if merges:
        raise SeriesError(
            f"{what} has a merge ({merges.splitlines()[0][:12]}): a series is a line of patches. "
            "Rebase it, or name a range without the merge."
        )
    fork = repository.run("merge-base", base, tip, check=False).stdout.strip()
    repository.run("format-patch", "--quiet", "--no-signature", "-o", str(folder / "patches"),
                   f"{fork or base}..{tip}")  # fmt: skip
    paths = sorted((folder / "patches").glob("*.patch"))
    if not paths:
        raise SeriesError(f"There is no commit in {what}.")
    return Series(tuple(parse(path) for path in paths), fork or base)
