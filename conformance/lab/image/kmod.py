# SPDX-License-Identifier: GPL-2.0-only
"""Puts python-kmod into an image: fetches its sources, applies our edits, builds them there."""

from __future__ import annotations

import hashlib
import re
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.errors import ImageError
from conformance.running import paths
from conformance.running.locked import part_name
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

PLACE = Path("usr/lib/python3/dist-packages")
"""Where Debian's python looks for packages, below a root."""


@dataclass(frozen=True)
class Source:
    """Which sources, and what is changed in them.

    Attributes:
        project: The name on the registry.
        version: The version.
        sha256: Of the source archive.
        edits: ``file``, ``find`` (a regular expression), ``replace`` and ``count`` of each edit.
    """

    project: str
    version: str
    sha256: str
    edits: tuple[dict[str, Any], ...]


def load(folder: Path | None = None) -> Source:
    """Read the data file."""
    raw = tomllib.loads((_data(folder) / "kmod.toml").read_text(encoding="utf-8"))
    return Source(raw["project"], raw["version"], raw["sha256"], tuple(raw["edit"]))


def install(root: Path, work: Path, log: Path, folder: Path | None = None) -> None:
    """Build python-kmod inside a root and put it there.

    Args:
        root: The unpacked root.
        work: An empty folder for the build.
        log: Takes the output.
        folder: The folder with our data, for tests.

    Raises:
        ImageError: It cannot be fetched or is not what it should be.
        ProgramFailed: It does not build.
    """
    source = load(folder)
    archive = fetch(source)
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(work)  # noqa: S202 - its digest is known
    unpacked = work / f"{source.project}-{source.version}"
    for edit in source.edits:
        apply(unpacked, edit)
    script = _data(folder) / "build.sh"
    argv = ["sh", str(script)]
    argv = Sandbox(root).argv(argv, ro_bind=[script], bind=[unpacked], cwd=unpacked)
    programs.run(argv, log=log, timeout=600)
    (unpacked / "kmod").rename(root / PLACE / "kmod")


def apply(unpacked: Path, edit: dict[str, Any]) -> None:
    """Apply one edit to the sources.

    Raises:
        ImageError: It does not apply exactly as often as it should.
    """
    path = unpacked / edit["file"]
    text, count = re.subn(edit["find"], edit["replace"], path.read_text(encoding="utf-8"))
    if count != edit["count"]:
        raise ImageError(
            f"The edit of {edit['file']} in vm-images/kmod/kmod.toml applies {count} times, "
            f"expected {edit['count']}: the sources are not those it was written for."
        )
    path.write_text(text, encoding="utf-8")


def fetch(source: Source) -> Path:
    """Return the source archive, from the cache or from the user's package index.

    Raises:
        ImageError: It cannot be fetched, or its digest differs.
    """
    target = paths.cache() / "downloads" / f"{source.project}-{source.version}.tar.gz"
    if target.exists() and _digest(target) == source.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Needed once for an image; what it imports takes longer than most commands.
    from conformance.lab.image import index  # noqa: PLC0415

    part = target.parent / part_name(target.name)
    try:
        index.download(source.project, source.version, part)
        if (digest := _digest(part)) != source.sha256:
            raise ImageError(
                f"The sources of {source.project} {source.version} have the SHA-256 {digest}, "
                f"expected {source.sha256}. The package index must not be trusted."
            )
        part.replace(target)
    except index.ERRORS as error:
        raise ImageError(
            f"The sources of {source.project} {source.version} cannot be fetched: "
            f"{index.shown(error)}. They come from the package index that pip is configured for "
            f"(pip config list); without network, put the file there yourself: {target}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _data(folder: Path | None) -> Path:
    return folder or paths.DATA / "kmod"
