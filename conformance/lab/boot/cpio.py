# SPDX-License-Identifier: GPL-2.0-only
"""Writes the archive format of initramfs: cpio, "newc".

The format is that of Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from typing import BinaryIO


class Cpio:
    """An archive that is being written. All entries belong to user 0 and carry no time."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0
        self._length = 0

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._entry(path, data, stat.S_IFREG | mode)

    def directory(self, path: str) -> None:
        """Add a directory; its parent must have been added before."""
        self._entry(path, b"", stat.S_IFDIR | 0o755)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(path, target.encode(), stat.S_IFLNK | 0o777)

    def character_device(self, path: str, major: int, minor: int) -> None:
        """Add a character device node."""
        self._entry(path, b"", stat.S_IFCHR | 0o600, (major, minor))

    def close(self) -> None:
        """Write the trailer. Does not close the file."""
        self._entry("TRAILER!!!", b"", 0)

    def _entry(self, path: str, data: bytes, mode: int, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        name = path.encode() + b"\0"
        links, owner, group, mtime, check = 1, 0, 0, 0, 0
        numbers = (
            *(self._inode, mode, owner, group, links, mtime, len(data)),
            *(0, 0),  # the device that holds the archive's files
            *device,
            *(len(name), check),
        )
        self._write(b"070701" + b"".join(b"%08x" % number for number in numbers) + name)
        self._write(data)

    def _write(self, data: bytes) -> None:
        padded = data + bytes(-(self._length + len(data)) % 4)
        self._out.write(padded)
        self._length += len(padded)
