# SPDX-License-Identifier: GPL-2.0-only
"""Puts python-kmod into an image: fetches its sources, applies our edits, builds them there."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)

from conformance.errors import ImageError
from conformance.running import paths
from conformance.running.locked import part_name
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

PLACE = Path("usr/lib/python3/dist-packages")
"""Where Debian's python looks for packages, below a root."""

_TIMEOUT = 30.0
_INDEX_ERRORS = (
    NoSuchProjectError,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
    requests.RequestException,
)


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
    part = target.parent / part_name(target.name)
    try:
        _download(source, part)
        if (digest := _digest(part)) != source.sha256:
            raise ImageError(
                f"The sources of {source.project} {source.version} have the SHA-256 {digest}, "
                f"expected {source.sha256}. The package index must not be trusted."
            )
        part.replace(target)
    except (OSError, *_INDEX_ERRORS) as error:
        raise ImageError(
            f"The sources of {source.project} {source.version} cannot be fetched: {_shown(error)}. "
            "They come from the package index that pip is configured for (pip config list); "
            f"without network, put the file there yourself: {target}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _shown(error: Exception) -> str:
    """Return the words of an error without the password that an index's address may have.

    >>> _shown(OSError("no route to https://me:secret@index.example/simple/"))
    'no route to https://index.example/simple/'
    """
    return re.sub(r"//[^/@\s]*@", "//", str(error))


def _download(source: Source, target: Path) -> None:
    name = f"{source.project}-{source.version}.tar.gz"
    session = requests.Session()
    if certificate := setting("cert"):
        session.verify = certificate
    endpoint = setting("index-url") or PYPI_SIMPLE_ENDPOINT
    with PyPISimple(endpoint, session=session) as index:
        page = index.get_project_page(source.project, timeout=_TIMEOUT)
        for package in page.packages:
            if package.filename == name:
                # The digest that counts is ours; the index may have none.
                index.download_package(package, target, verify=False, timeout=_TIMEOUT)
                return
    raise ImageError(f"The package index of pip has no {name}. See pip config list.")


def setting(name: str) -> str:
    """Return a setting of the user's pip, from its environment or its files."""
    if value := os.environ.get(f"PIP_{name.replace('-', '_').upper()}"):
        return value
    # pip alone knows where its files are and which one wins.
    argv = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    found = programs.run(argv, check=False, timeout=_TIMEOUT)
    return found.stdout.strip() if found.returncode == 0 else ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _data(folder: Path | None) -> Path:
    return folder or paths.DATA / "kmod"
