# SPDX-License-Identifier: GPL-2.0-only
"""Changes to files that a source tree already has.

Each is tied to a place that is found by a regular expression. The place must be there exactly once:
where it is not, the tree is older or newer than what the change was written for, and saying so is
better than a change in a wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kpatch.errors import SourceTreeError
from kpatch.kernel import source


@dataclass(frozen=True)
class Edit:
    """Text that is added to a file.

    Attributes:
        path: The file, in the tree.
        template: What yields the text.
        after: The place it goes behind, a regular expression in which ^ and $ mean lines.
        what: What the place is, for a message.
        taken: What must not be there: a regular expression with what it means.
    """

    path: str
    template: str
    after: str
    what: str
    taken: tuple[str, str] | None = None


def saving_capability(header: str) -> Edit:
    """Return the edit that adds the capability to a header, the kernel's or a copy of it."""
    return Edit(
        header,
        "series/uapi/saving.j2",
        after=r"^struct vfio_region_info_cap_sparse_mmap \{\n(?:\t.*\n)*\};\n",
        what="struct vfio_region_info_cap_sparse_mmap",
        taken=(
            r"^#define\s+VFIO_REGION_INFO_CAP_(SPARSE_MMAP_SAVING\b|\w+\s+6$)",
            "already has a region capability with the id 6, which this series would add",
        ),
    )


@dataclass(frozen=True)
class Base:
    """What a tree is, for messages.

    Attributes:
        name: Program and version.
        since: The first version that the series can be for.
    """

    name: str
    since: str


def insert(tree: Path, edit: Edit, text: str, *, base: Base | None = None) -> None:
    """Make a change.

    Args:
        tree: The tree.
        edit: The change.
        text: What is added.
        base: What the tree is; without it a kernel.

    Raises:
        SourceTreeError: The place is not there, or more than once, or the change is not possible.
    """
    old = source.read(tree, edit.path)
    base = base or Base(f"Linux {source.version(tree)}", "6.10 at least")
    where = f"{edit.path} of the tree ({base.name})"
    if edit.taken and re.search(edit.taken[0], old, re.MULTILINE):
        raise SourceTreeError(f"{where} {edit.taken[1]}.")
    places = list(re.finditer(edit.after, old, re.MULTILINE))
    if len(places) != 1:
        count = f"is there {len(places)} times" if places else "is not there"
        raise SourceTreeError(
            f"{where} is not as the series expects it: {edit.what} {count}. The tree is too old "
            f"for the series ({base.since}), or too new for this version of the kit; in that case "
            "the change has to be adapted."
        )
    end = places[0].end()
    _write(tree / edit.path, old[:end] + text + old[end:])


def maintain(tree: Path, entry: str) -> None:
    """Add an entry to MAINTAINERS where the alphabet wants it.

    Raises:
        SourceTreeError: There is one with this heading, or none of VFIO to find the place by.
    """
    old = source.read(tree, "MAINTAINERS")
    heading = entry.partition("\n")[0]
    headings = list(re.finditer(r"(?<=\n\n)(VFIO [^\n]*)\n(?=[A-Z]:\t)", old))
    if any(one[1] == heading for one in headings):
        raise SourceTreeError(f"{_where(tree, 'MAINTAINERS')} already has {heading!r}.")
    if not headings:
        raise SourceTreeError(f"{_where(tree, 'MAINTAINERS')} has no entries of VFIO.")
    later = [one.start() for one in headings if one[1] > heading]
    last = old.find("\n\n", headings[-1].end()) + 2
    at = later[0] if later else last
    _write(tree / "MAINTAINERS", f"{old[:at]}{entry}\n{old[at:]}")


def create(tree: Path, files: Iterable[tuple[str, str]]) -> None:
    """Write files of the series' own."""
    for name, text in files:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8", errors="surrogateescape", newline="")


def _where(tree: Path, path: str) -> str:
    return f"{path} of the tree (Linux {source.version(tree)})"
