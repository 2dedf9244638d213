# SPDX-License-Identifier: GPL-2.0-only
"""Mails with patches, taken apart by git itself: what `git am` reads is what the gate reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kpatch.errors import SeriesError
from kpatch.tools import git

_BRACKETS = re.compile(r"^\s*((?:\[[^]]*\]\s*)+)")
_NUMBER = re.compile(r"(?<![\w/.])(\d{1,5})/(\d{1,5})(?![\w/.])")
_VERSION = re.compile(r"(?<![A-Za-z])(?:PATCH)?v(\d{1,4})(?!\w)", re.I)
# Prefixes of replies and forwards, as mail programs of several languages write them.
_REPLY = re.compile(r"^\s*(?:\[[^]]*\]\s*)*(?:re|aw|sv|antw|fwd?|wg)\s*(?:\[\d+\])?:", re.I)
_NO_MAIL = {
    b"\x1f\x8b": "compressed by gzip: unpack it with gunzip",
    b"\xfd7zXZ": "compressed by xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it with unzstd",
    b"BZh": "compressed by bzip2: unpack it with bunzip2",
    b"PK\3\4": "a zip archive: unpack it",
    b"\xff\xfe": "UTF-16, as redirecting into a file on Windows makes it: save it as it was sent",
    b"\xfe\xff": "UTF-16: save it as it was sent",
    b"\xef\xbb\xbf": "marked as UTF-8 by its first three bytes (BOM): save it without",
}
"""By their first bytes, files that git takes for mails without a patch."""
_BASE = re.compile(r"^base-commit: ([0-9a-f]{7,64})$", re.M)


@dataclass(frozen=True)
class Mail:
    """A mail, or a patch in a file, before it is applied.

    Attributes:
        path: A file with this mail alone.
        name: What messages call it.
        subject: The whole subject, decoded.
        has_diff: Whether it changes anything.
        paths: The files that it names, old and new; none if git cannot read the diff.
        base: The commit that it is for, if it names one.
        complaint: Why `git am` could not read it; empty if it can.
        is_part: Whether its file is one of a series by its name, or by the list of quilt: it is
            judged, whatever it holds.
    """

    path: Path
    name: str
    subject: str
    has_diff: bool
    paths: tuple[str, ...] = ()
    base: str = ""
    complaint: str = ""
    is_part: bool = False

    @property
    def prefix(self) -> str:
        """What stands in brackets before the subject."""
        found = _BRACKETS.match(self.subject)
        return found[1] if found else ""

    @property
    def number(self) -> tuple[int, int] | None:
        """Which patch of how many: (2, 3) of `[PATCH 2/3]`; None without."""
        found = _NUMBER.search(self.prefix)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def version(self) -> int:
        """Which version of a series: 2 of `[PATCH v2 2/3]`; 1 without."""
        found = _VERSION.search(self.prefix)
        return int(found[1]) if found else 1

    @property
    def is_reply(self) -> bool:
        """Whether it answers or forwards another mail."""
        return _REPLY.match(self.subject) is not None

    @property
    def is_cover(self) -> bool:
        """Whether it is the cover letter, with a diff or without."""
        return self.number is not None and self.number[0] == 0


def split(source: Path, folder: Path) -> list[Mail]:
    """Return the mails of a file, a mailbox or a Maildir, as `git am` takes them apart.

    Args:
        source: The file, or the folder of the Maildir.
        folder: Where the mails go, one a file; made here.

    Raises:
        SeriesError: It cannot be read, or is no mail.
    """
    folder.mkdir(parents=True)
    try:
        start = _start(source)
    except OSError as error:
        raise SeriesError(f"{source} cannot be read: {error.strerror}.") from error
    for magic, what in _NO_MAIL.items():
        if start.startswith(magic):
            raise SeriesError(f"{source} is {what}.")
    # -b: a file that does not begin as a mailbox is one mail.
    done = git.outside(
        "mailsplit", "-b", "-d5", f"-o{folder.absolute()}", "--", str(source.absolute()), cwd=folder
    )
    paths = sorted(path for path in folder.iterdir() if path.name.isdigit())
    if done.returncode:
        raise SeriesError(
            f"{source} is not a mailbox with patches: {_last(done.stderr)}. "
            "`b4 am` and `git format-patch --stdout` write one."
        )
    many = len(paths) > 1
    return [
        _read(path, f"mail {number} of {source}" if many else str(source))
        for number, path in enumerate(paths, 1)
    ]


def _start(source: Path) -> bytes:
    """Return the first bytes of a file; of a folder, none."""
    if not source.is_file():
        return b""
    with source.open("rb") as file:
        return file.read(8)


def _read(path: Path, name: str) -> Mail:
    message, diff = path.with_suffix(".msg"), path.with_suffix(".diff")
    how = ["mailinfo", "-k", str(message), str(diff)]
    done, complaint = git.outside(*how, cwd=path.parent, stdin=path), ""
    if done.returncode:
        complaint = _last(done.stderr)
        # Without its character set: enough to know whether anybody needs the mail.
        how.insert(1, "-n")
        done = git.outside(*how, cwd=path.parent, stdin=path)
    found = re.search(r"^Subject: (.*)$", done.stdout, re.M)
    text = _text(diff)
    base = _BASE.search(text) or _BASE.search(_text(message))
    return Mail(
        path,
        name,
        found[1].strip() if found else "",
        re.search(r"^(?:diff --git |--- \S|Index: )", text, re.M) is not None,
        tuple(dict.fromkeys(_paths(diff))) if text else (),
        base[1] if base else "",
        complaint,
    )


def _paths(diff: Path) -> Iterator[str]:
    """Yield the files that a diff names: by their new names, and in reverse by their old ones."""
    for reverse in ([], ["-R"]):
        done = git.outside("apply", "--numstat", "-z", *reverse, str(diff), cwd=diff.parent)
        for line in done.stdout.split("\0"):
            path = line.split("\t", 2)[-1]
            if path and not done.returncode and _is_inside(path):
                yield path


def _is_inside(path: str) -> bool:
    """Return whether a path of a diff leads into the tree and not out of it, nor into .git."""
    parts = PurePosixPath(path).parts
    return not path.startswith("/") and ".." not in parts and ".git" not in parts[:1]


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="backslashreplace") if path.exists() else ""


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "git does not say why"
