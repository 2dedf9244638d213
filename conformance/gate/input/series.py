# SPDX-License-Identifier: GPL-2.0-only
"""The series that the gate judges: a folder of patches, a mailbox, or commits of a git tree.

Its patches are put in the order that their subjects, a quilt `series` file or their file names
tell. A part that is missing or there twice is refused: half a series is not what anybody sent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.gate.input import mail
from conformance.gate.input.mail import Mail
from kpatch.errors import SeriesError
from kpatch.tools import git
from kpatch.tools.git import Identity

_SUFFIXES = (".patch", ".diff", ".eml", ".mbox", ".mbx")
_FILE_NUMBER = re.compile(r"^(?:v(\d+)-)?(\d{4,})-")


@dataclass(frozen=True)
class Series:
    """What is judged.

    Attributes:
        patches: In order.
        base: The commit they are for, if that is known.
        left_out: What is not judged, and why; a line each.
    """

    patches: tuple[Mail, ...]
    base: str = ""
    left_out: tuple[str, ...] = ()


def read(what: str, tree: Path, folder: Path, who: Identity) -> Series:
    """Read a series.

    Args:
        what: A folder, a mailbox file, or a range of commits of the tree.
        tree: The kernel source tree.
        folder: Where its mails go, one a file.
        who: For the scratch repository.

    Raises:
        SeriesError: It is none of these, has no patches, or is not whole.
    """
    path = Path(what)
    if path.is_dir():
        return _of_folder(path, folder)
    if path.is_file():
        return in_order(mail.split(path, folder / "mails"), what, lambda mails: mails)
    if ".." in what:
        return _of_range(what, tree, folder, who)
    raise SeriesError(
        f"{what} is neither a folder of patches, nor a mailbox file, nor a range of commits "
        "(BASE..TIP)."
    )


def _of_folder(path: Path, folder: Path) -> Series:
    if (path / "cur").is_dir() and (path / "new").is_dir():  # a Maildir
        return in_order(mail.split(path, folder / "mails"), str(path), lambda mails: mails)
    listed = path / "series"
    if listed.is_file():
        files = _quilt(listed)
        patches = _patches(_all_mails(files, folder, lambda _file: True), str(path))
        return _series(*patches)
    files = sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES)
    odd = [one for one in files if not one.is_file()]
    if odd:
        what = "a link that leads nowhere" if odd[0].is_symlink() else "no file"
        raise SeriesError(f"{odd[0]} is {what}. Give it its content, or remove it.")
    if not files:
        raise SeriesError(
            f"{path} has no patches: files such as 0001-subject.patch, as git format-patch "
            "writes them, or a quilt series."
        )
    mails = _all_mails(files, folder, _is_numbered)
    return in_order(mails, str(path), _by_file_names)


def _all_mails(
    files: Sequence[Path], folder: Path, is_part: Callable[[Path], bool] = lambda _file: False
) -> list[Mail]:
    found = []
    for number, path in enumerate(files):
        mails = mail.split(path, folder / f"mails-{number:05}")
        if len(mails) == 1 and is_part(path):
            mails = [replace(mails[0], is_part=True)]
        found += mails
    return found


def _is_numbered(path: Path) -> bool:
    """Return whether `git format-patch` would so name a patch, and not a cover letter."""
    found = _FILE_NUMBER.match(path.name)
    return found is not None and int(found[2]) > 0


def _quilt(listed: Path) -> list[Path]:
    """Return the patches that a quilt `series` file lists."""
    names = []
    for line in listed.read_text("utf-8", errors="surrogateescape").splitlines():
        words = line.partition("#")[0].split()
        if words and words[1:] not in ([], ["-p1"]):
            raise SeriesError(f"{listed}: {line.strip()}: only patches of level 1 (-p1) are read.")
        names += words[:1]
    files = [listed.parent / name for name in names]
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        what = f"{missing[0]}, which is not there" if missing else "no patch"
        raise SeriesError(f"{listed} lists {what}.")
    return files


def _patches(mails: Sequence[Mail], what: str) -> tuple[list[Mail], list[Mail]]:
    """Separate patches from cover letters, replies and other mails, which come second."""
    patches = [
        one
        for one in mails
        if not (one.is_cover or one.is_reply)
        and (one.has_diff or one.number or one.is_part or len(mails) == 1)
    ]
    if not any(one.has_diff for one in mails):
        few = "only a cover letter" if any(one.is_cover for one in mails) else "no diff in any mail"
        raise SeriesError(f"{what} has no patch: there is {few}.")
    if not patches:
        raise SeriesError(
            f"No mail in {what} has a patch that is its own: the diffs are in replies or in the "
            "cover letter. Save the patch as a mail of its own, with a subject without Re:."
        )
    for patch in patches:
        if patch.complaint:
            raise SeriesError(
                f"git am cannot read {patch.name}: {patch.complaint}. Ask for the patch in UTF-8, "
                "or correct the charset in its headers."
            )
    return patches, [one for one in mails if one not in patches]


def _series(patches: Sequence[Mail], others: Sequence[Mail]) -> Series:
    base = next((one.base for one in [*patches, *others] if one.base), "")
    left = [
        f"{other.name}: not judged: {'a reply' if other.is_reply else 'a mail without a place'}"
        for other in others
        if (other.has_diff or other.is_part) and not other.is_cover
    ]
    left += [
        f"{other.name}: the diff in the cover letter is not judged"
        for other in others
        if other.has_diff and other.is_cover
    ]
    return Series(tuple(patches), base, tuple(left))


def in_order(
    mails: Sequence[Mail], what: str, without_numbers: Callable[[list[Mail]], list[Mail]]
) -> Series:
    """Put the patches among mails in order and check that all are there, once."""
    patches, others = _patches(mails, what)
    versions = sorted({patch.version for patch in patches})
    if len(versions) > 1:
        names = ", ".join(f"v{number}" for number in versions)
        raise SeriesError(
            f"{what} has {len(versions)} versions of a series ({names}). Name one: put the other "
            "elsewhere."
        )
    numbered = [patch for patch in patches if patch.number]
    if not numbered:
        return _series(without_numbers(patches), others)
    if len(numbered) < len(patches):
        loose = next(patch for patch in patches if not patch.number)
        raise SeriesError(
            f"{loose.name} ({loose.subject!r}) has no place in the series: the others are "
            "numbered, as in [PATCH 1/3], and it is not. Number it, or put it elsewhere."
        )
    totals = sorted({one.number[1] for one in numbered if one.number})
    if len(totals) > 1:
        words = " and ".join(f"one of {total}" for total in totals)
        raise SeriesError(f"{what} has patches of several series: {words}. Name one of them.")
    _complete([one.number[0] for one in numbered if one.number], totals[0], what, f"/{totals[0]}")
    return _series(sorted(numbered, key=lambda one: one.number or (0, 0)), others)


def _complete(numbers: Sequence[int], total: int, what: str, suffix: str = "") -> None:
    """Refuse a series with parts that are missing or there twice."""
    twice = [number for number, times in Counter(numbers).items() if times > 1]
    if twice:
        raise SeriesError(f"{twice[0]}{suffix} is in {what} twice. Remove one of them.")
    odd = [number for number in numbers if number > total]
    if odd:
        raise SeriesError(f"{what} has a patch {odd[0]}{suffix}, which cannot be.")
    # Not a set of all numbers: a mail may claim to be one of 99999.
    missing = next((number for number in range(1, total + 1) if number not in numbers), 0)
    if missing:
        raise SeriesError(
            f"{missing}{suffix} is missing in {what}. A series is judged as a whole: get the rest "
            "of it, for instance with `b4 am`."
        )


def _by_file_names(patches: list[Mail]) -> list[Mail]:
    """Check the numbers in the names of files, where they have some; that is their order, too."""
    names = [_FILE_NUMBER.match(Path(patch.name).name) for patch in patches]
    found = [name for name in names if name]
    if len(found) < len(patches):
        return patches
    folder = str(Path(patches[0].name).parent)
    versions = sorted({int(one[1] or 1) for one in found})
    if len(versions) > 1:
        words = ", ".join(f"v{number}" for number in versions)
        raise SeriesError(f"{folder} has {len(versions)} versions of a series ({words}). Name one.")
    numbers = [int(one[2]) for one in found]
    _complete(numbers, max(numbers), folder)
    return [one for _, one in sorted(zip(numbers, patches, strict=True), key=lambda two: two[0])]


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
    # -N: their place is known, and a subject may have brackets of its own.
    with git.objects_of(tree):
        repository.run(
            "format-patch", "--quiet", "--no-signature", "-N", "--always", "--full-index",
            "--binary", "-o", str(folder / "patches"), f"{fork or base}..{tip}",
        )  # fmt: skip
    files = sorted((folder / "patches").glob("*.patch"))
    if not files:
        raise SeriesError(f"There is no commit in {what}.")
    return Series(tuple(_all_mails(files, folder)), fork or base)
