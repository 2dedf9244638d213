# SPDX-License-Identifier: GPL-2.0-only
"""From the commits of a series to the files that are sent: patches, cover letter, recipients."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpatch.errors import ProgramFailed, SeriesError, SourceTreeError
from kpatch.kernel import source
from kpatch.render.render import fill
from kpatch.series.steps import wrap
from kpatch.tools import git, programs
from kpatch.tools.git import Identity, Repository

UAPI_LIST = "linux-api@vger.kernel.org"
"""The list that changes of the user API go to as well."""

MEMORY_LIST = "linux-mm@kvack.org"
"""The list to ask where a driver relies on how mappings are split and copied."""


@dataclass(frozen=True)
class Recipients:
    """Whom a series goes to.

    Attributes:
        to: The maintainers.
        cc: Reviewers and lists.
    """

    to: tuple[str, ...]
    cc: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """Which version of a series it is.

    Attributes:
        number: 1 for the first.
        previous: Folder with the version before, or None.
        rfc: Whether it is a request for comments, as new users of an interface marked as
            deprecated and those of a new interface are.
    """

    number: int = 1
    previous: Path | None = None
    rfc: bool = True

    @property
    def prefix(self) -> str:
        """What the subjects begin with, inside the brackets."""
        return "RFC PATCH" if self.rfc else "PATCH"


FIRST = Version()
"""The first version of a series."""


def patches_in(folder: Path) -> list[Path]:
    """Return the patches of a folder in their order, without the cover letter.

    Raises:
        SeriesError: There are none.
    """
    names = [path for path in folder.glob("*.patch") if _numbered(path)]
    found = sorted(path for path in names if "0000-" not in path.name)
    if not found:
        raise SeriesError(
            f"{folder} has no patches: files such as 0001-subject.patch, as git format-patch "
            "writes them."
        )
    return found


def recipients(tree: Path, maintainers: Path, patches: Sequence[Path], who: Identity) -> Recipients:
    """Ask the tree's get_maintainer.pl whom patches go to.

    Args:
        tree: The user's tree, with the script; it is only read.
        maintainers: The MAINTAINERS file with the changes of the series.
        patches: The patches.
        who: The author, who gets no copy.

    Raises:
        SourceTreeError: The script fails.
    """
    script = tree / "scripts/get_maintainer.pl"
    common = ["perl", str(script), f"--mpath={maintainers}", "--no-git", "--no-git-fallback"]
    common += ["--no-rolestats", "--no-roles"]
    files = [str(path) for path in patches]
    try:
        to = _lines(programs.run([*common, "--no-r", "--no-l", *files], cwd=tree, timeout=300))
        cc = _lines(programs.run([*common, "--no-m", *files], cwd=tree, timeout=300))
    except ProgramFailed as error:
        if error.status == 127:
            raise
        raise SourceTreeError(
            f"{script} cannot name the recipients: {error.tail.strip() or error}. Is the source "
            "tree whole? --no-recipients makes the series without them."
        ) from error
    texts = [path.read_text("utf-8", errors="replace") for path in patches]
    if any("+++ b/include/uapi/" in text for text in texts):
        cc.append(UAPI_LIST)
    if any(f"+++ b/{source.CORE_SOURCE}" in text for text in texts):
        cc.append(MEMORY_LIST)
    mine = who.email.lower()
    to = [fromkey for fromkey in dict.fromkeys(to) if mine not in fromkey.lower()]
    cc = [
        fromkey
        for fromkey in dict.fromkeys(cc)
        if mine not in fromkey.lower() and fromkey not in to
    ]
    return Recipients(tuple(to), tuple(cc))


def format_patches(
    repository: Repository,
    base: str,
    target: Path,
    version: Version,
    people: Recipients,
    *,
    cover: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the patches since `base` into a folder, which is made.

    Args:
        repository: Has them.
        base: The commit they are based on.
        target: The folder.
        version: Which version of the series it is.
        people: Whom they go to.
        cover: Variables for the cover letter; none without.

    Returns:
        The patches, the cover letter first.

    Raises:
        SeriesError: The previous version cannot be compared with.
    """
    options = ["--base=" + base, "--no-signature", "--no-renames", "--stat=72", "--summary"]
    options += [f"--subject-prefix={version.prefix}", "-o", str(target)]
    options += [f"--to={one}" for one in people.to] + [f"--cc={one}" for one in people.cc]
    if version.number > 1:
        options.append(f"--reroll-count={version.number}")
    changes = ""
    if cover is not None:
        options.append("--cover-letter")
        if version.previous:
            before = _replay(repository, base, version.previous)
            options.append(f"--range-diff={base}..{before}")
            changes = _changes(repository, base, before)
    repository.run("format-patch", "--quiet", *options, f"{base}..HEAD")
    found = sorted(target.glob("*.patch"))
    if cover is not None:
        _write_cover(found[0], cover, changes, version)
    return found


def send_files(target: Path, patches: Sequence[Path], people: Recipients, topic: str) -> None:
    """Write what sends the series: `send.sh` for git send-email, `b4.sh` for b4.

    The recipients are in the patches as well, so `git send-email DIR/*.patch` does the same.
    """
    names = " ".join(f'"$here"/{path.name}' for path in patches)
    options = "".join(f" \\\n\t--to '{one}'" for one in people.to)
    options += "".join(f" \\\n\t--cc '{one}'" for one in people.cc)
    series = " ".join(f'"$here"/{path.name}' for path in patches[1:])
    base = _base(patches[0])
    _script(
        target / "send.sh",
        "Sends the series. Read it again first; --dry-run shows what would be sent.",
        f'git send-email --suppress-cc=body --suppress-cc=author "$@"{options} \\\n\t{names}',
    )
    _script(
        target / "b4.sh",
        "Makes a b4 branch of the series; run it in the kernel tree, then `b4 send`.",
        f"b4 prep --new {topic} --fork-point {base}\n"
        f"git am {series}\n"
        'GIT_EDITOR="cp $here/b4-cover.txt" b4 prep --edit-cover',
    )
    subject, body = _cover_text(patches[0])
    trailers = [f"To: {one}" for one in people.to] + [f"Cc: {one}" for one in people.cc]
    text = "\n\n".join([subject, body.strip(), "\n".join(trailers)]) + "\n"
    (target / "b4-cover.txt").write_text(text, "utf-8")


def _script(path: Path, comment: str, commands: str) -> None:
    head = f'#!/bin/sh\n# {comment}\nset -e\nhere=$(cd "$(dirname "$0")" && pwd)\n'
    path.write_text(head + commands + "\n", "utf-8")
    path.chmod(0o755)


def _write_cover(path: Path, words: Mapping[str, Any], changes: str, version: Version) -> None:
    raw = fill({"": "series/cover.j2"}, words)[""]
    raw = re.sub(r"\n{3,}", "\n\n", raw)
    subject, _, body = wrap(raw).partition("\n\n")
    if changes:
        body += f"\n{changes}"
    if version.previous:
        body += _older_changes(version.previous)
    text = path.read_text("utf-8")
    text = text.replace("*** SUBJECT HERE ***", subject)
    path.write_text(text.replace("*** BLURB HERE ***\n", body), "utf-8")


def _replay(repository: Repository, base: str, folder: Path) -> str:
    """Apply the previous version on the same base and return its tip; HEAD stays where it is."""
    tip = repository.out("rev-parse", "HEAD")
    repository.run("checkout", "--quiet", "--detach", base)
    try:
        for patch in patches_in(folder):
            before = git.apply(repository, patch)
    except ProgramFailed as error:
        raise SeriesError(
            f"{patch} of the previous version does not apply to this tree, so the two cannot be "
            "compared. Name the tree it was made for, or omit --previous."
        ) from error
    finally:
        repository.run("checkout", "--quiet", "--detach", "--force", tip)
    return before


def _changes(repository: Repository, base: str, before: str) -> str:
    """Tell which patches differ from the previous version."""
    words = {"=": "", "!": "changed", "<": "dropped", ">": "new"}
    listed = repository.out("range-diff", "--no-patch", "--no-color", f"{base}..{before}",
                            f"{base}..HEAD")  # fmt: skip
    found = re.findall(r"^\s*(?:\d+|-+):\s+\S+ ([=!<>])\s+(?:\d+|-+):\s+\S+ (.*)$", listed, re.M)
    lines = [f"- {words[mark]}: {subject}" for mark, subject in found if words[mark]]
    head = "Changes since the previous version (range-diff below):"
    return "\n".join([head, *(lines or ["- none"])]) + "\n"


def _older_changes(previous: Path) -> str:
    """Return what the previous cover letter says of the versions before it."""
    for path in sorted(previous.glob("*0000-cover-letter.patch")):
        text = path.read_text("utf-8")
        found = re.findall(
            r"^Changes (?:since|between) .*:\n(?:- .*\n)+", text.partition("\nRange-diff")[0], re.M
        )
        number = re.search(r"^Subject: \[(?:RFC )?PATCH v(\d+)", text, re.M)
        last = int(number[1]) if number else 1
        older = (
            re.sub(r" since the previous version.*:", f" between v{last - 1} and v{last}:", one)
            for one in found
        )
        return "".join(f"\n{one}" for one in older)
    return ""


def _cover_text(path: Path) -> tuple[str, str]:
    head, _, rest = path.read_text("utf-8").partition("\n\n")
    subject = re.sub(r"\n\s+", " ", head).partition("Subject: ")[2].partition("\n")[0]
    # Behind the text come the list of patches, the diffstat and the range-diff.
    body = re.split(r"\n\n(?=[^\n]+ \(\d+\):\n)", rest)[0]
    return re.sub(r"^\[[^]]*\] ", "", subject), body


def _base(cover: Path) -> str:
    found = re.search(r"^base-commit: (\w+)$", cover.read_text("utf-8"), re.M)
    return found[1] if found else "BASE"


def _lines(done: Any) -> list[str]:
    return [line.strip() for line in str(done.stdout).splitlines() if line.strip()]


def _numbered(path: Path) -> bool:
    return re.match(r"(v\d+-)?\d{4}-", path.name) is not None
