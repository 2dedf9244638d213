# SPDX-License-Identifier: GPL-2.0-only
"""The client's memory that a function can access: what the client has mapped for DMA."""

from __future__ import annotations

import errno
import mmap
import os
from bisect import bisect_right, insort
from dataclasses import dataclass

from conformance.lab.machine.vfio_user.errors import RefusedError
from conformance.uapi.constants import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE


class DmaError(Exception):
    """An access to memory that is not mapped, or not for this."""


@dataclass(frozen=True, order=True)
class _Map:
    start: int
    size: int
    flags: int
    offset: int
    file: mmap.mmap | None


class DmaMemory:
    """All that is mapped; addresses are IOVAs, sizes are in bytes.

    A file is mapped once, however many ranges of it the client maps: an IOMMU of the guest maps
    page by page.
    """

    def __init__(self) -> None:
        self._maps: list[_Map] = []
        self._files: dict[tuple[int, int, int], mmap.mmap] = {}

    def map(self, start: int, size: int, flags: int, offset: int, fd: int | None) -> None:
        """Add a range: `offset` in the file `fd`, which stays the caller's to close.

        Without a file, or with one that cannot be mapped or ends before the range does, the range
        is known, and every access to it fails.

        Raises:
            RefusedError: EEXIST, for a range that overlaps another.
        """
        after = self._after(start)
        before = self._maps[after - 1] if after else None
        following = self._maps[after] if after < len(self._maps) else None
        if (before and before.start + before.size > start) or (
            following and following.start < start + size
        ):
            raise RefusedError(errno.EEXIST, f"{start:#x} plus {size:#x} is partly mapped")
        file = None if fd is None else self._file(fd, flags)
        if file is not None and offset + size > len(file):
            file = None
        insort(self._maps, _Map(start, size, flags, offset, file), key=lambda one: one.start)

    def unmap(self, start: int, size: int) -> None:
        """Remove the ranges that begin in a range."""
        self._maps = [one for one in self._maps if not start <= one.start < start + size]

    def clear(self) -> None:
        """Remove all ranges, and let go of the files."""
        self._maps.clear()
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read(self, address: int, count: int) -> bytes:
        """Return bytes.

        Raises:
            DmaError: Not all of them are mapped for reading.
        """
        pieces = self._pieces(address, count, VFIO_DMA_MAP_FLAG_READ)
        return b"".join(file[at : at + size] for file, at, size in pieces)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes: all of them, or none.

        Raises:
            DmaError: Not all of them are mapped for writing.
        """
        done = 0
        for file, at, size in self._pieces(address, len(data), VFIO_DMA_MAP_FLAG_WRITE):
            file[at : at + size] = data[done : done + size]
            done += size

    def _pieces(self, address: int, count: int, access: int) -> list[tuple[mmap.mmap, int, int]]:
        """Return file, place in it and size of each piece of a range."""
        found = []
        while count:
            after = self._after(address)
            one = self._maps[after - 1] if after else None
            if one is None or address >= one.start + one.size:
                raise DmaError(f"{address:#x} is not mapped")
            if one.file is None or not one.flags & access:
                raise DmaError(f"{address:#x} is not mapped for this access")
            within = address - one.start
            size = min(count, one.size - within)
            found.append((one.file, one.offset + within, size))
            address, count = address + size, count - size
        return found

    def _after(self, address: int) -> int:
        return bisect_right(self._maps, address, key=lambda one: one.start)

    def _file(self, fd: int, flags: int) -> mmap.mmap | None:
        status = os.fstat(fd)
        writable = flags & VFIO_DMA_MAP_FLAG_WRITE
        key = (status.st_dev, status.st_ino, writable)
        if key not in self._files:
            access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            try:
                self._files[key] = mmap.mmap(fd, 0, mmap.MAP_SHARED, access)
            except (OSError, ValueError):
                return None
        return self._files[key]
