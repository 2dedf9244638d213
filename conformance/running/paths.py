# SPDX-License-Identifier: GPL-2.0-only
"""Where things are: the data of the kit, the cache, the results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from conformance.errors import UsageError

KIT = Path(__file__).resolve().parents[2]
"""The checkout."""

DATA = KIT / "vm-images"
"""Definitions of images and machines, and what goes into them."""

CACHE_NAME = "vfio-migration-kit"


def cache() -> Path:
    """Return the cache folder; everything in it can be made again.

    ``$VFIO_KIT_CACHE``, or ``vfio-migration-kit`` in the user's cache folder.
    """
    if own := os.environ.get("VFIO_KIT_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(base) / CACHE_NAME).absolute()


def logs() -> Path:
    """Return the folder of logs outside of runs, such as those of an image."""
    return cache() / "logs"


def new_results(parent: Path, device: str, image: str, now: datetime | None = None) -> Path:
    """Make the folder of one run, named for its time, and point `latest` to it.

    Raises:
        UsageError: It cannot be made.
    """
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    with refused(parent):
        return _new(parent, f"{stamp}-{device}-{image}")


def results(folder: Path) -> Path:
    """Make the folder that is named for results, if it is not there, and return it.

    Raises:
        UsageError: It cannot be made.
    """
    with refused(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def refused(folder: Path) -> Iterator[None]:
    """Within the block a folder for results is made: say so if that cannot be."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot take results: {error.strerror}. Name another one with -o."
        ) from error


def _new(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
            break
        except FileExistsError:  # two runs within a second
            number += 1
    link = parent / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(parent / "latest")
    return folder
