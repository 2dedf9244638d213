# SPDX-License-Identifier: GPL-2.0-only
"""Atomic cache entries: complete or absent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

_PART = ".part-"


def part_name(name: str) -> str:
    """Return the name of an entry until it is complete."""
    return f"{_PART}{os.getpid()}-{name}"


@contextlib.contextmanager
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock that the kernel drops when the process ends, however it ends.

    Args:
        path: The lock's file.
        waiting: Called once if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder; renamed into place if the block succeeds, removed if it raises.

    Call with the lock held: removes what an interrupted run left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{_PART}*-{path.name}"):
        remove(old)
    part = path.parent / part_name(path.name)
    part.mkdir()
    try:
        yield part
        if path.exists():
            remove(path)
        part.rename(path)
    except BaseException:
        remove(part)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder with everything in it."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:  # a root file system has folders that even their owner cannot write
        for folder, _folders, _files in os.walk(path):
            Path(folder).chmod(0o700)
        shutil.rmtree(path)
