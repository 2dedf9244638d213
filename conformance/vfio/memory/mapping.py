# SPDX-License-Identifier: GPL-2.0-only
"""Mappings of which any page range can be unmapped, protected, moved or split off.

A :class:`Mapping` remembers which of its pages are still there, so that leaving the context
unmaps exactly those and nothing that came to the same addresses later.
"""

import ctypes
import mmap as _pymmap
from typing import Final

from conformance.closing import Closing
from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.memory import libc
from conformance.vfio.memory.areas import Area, subtract

PAGE_SIZE: Final = _pymmap.PAGESIZE


class _Made:
    count = 0


_WIDTHS: Final = {
    1: ctypes.c_uint8,
    2: ctypes.c_uint16,
    4: ctypes.c_uint32,
    8: ctypes.c_uint64,
}


class Mapping(Closing):
    """A range of virtual memory, made by :func:`map_fd` or split off another.

    ``address`` is where it begins, ``size`` its length in bytes, ``name`` what it shows, for
    the trace, ``offset`` where in that it begins. All offsets taken by the methods count
    from the start of the mapping. Every method raises :class:`OSError` with the kernel's errno.
    """

    def __init__(self, address: int, size: int, *, name: str = "memory", offset: int = 0) -> None:
        self.address = address
        self.size = size
        self.name = name
        self.offset = offset
        self._left: tuple[Area, ...] = (Area(0, size),) if size else ()

    def __str__(self) -> str:
        return self._words(0, self.size)

    @property
    def left(self) -> tuple[Area, ...]:
        """Ranges that are still mapped, from the start of the mapping."""
        return self._left

    @property
    def left_in_region(self) -> tuple[Area, ...]:
        """The same ranges, counted from the start of the region."""
        return tuple(Area(self.offset + area.offset, area.size) for area in self._left)

    def _words(self, offset: int, size: int) -> str:
        return f"{self.name} {Area(self.offset + offset, size)}"

    def close(self) -> None:
        """Unmap what is left. Does nothing the second time."""
        for area in self._left:
            self.munmap(area.offset, area.size)

    def munmap(self, offset: int = 0, size: int | None = None) -> None:
        """Unmap pages; without arguments the whole range, holes included."""
        size = self.size - offset if size is None else size
        with trace.call(f"munmap {self._words(offset, size)}"):
            libc.munmap(self.address + offset, size)
        self._left = subtract(self._left, (Area(offset, size),))

    def mprotect(self, offset: int, size: int, prot: int) -> None:
        """Change the protection of pages, which splits the vma around them."""
        with trace.call(f"mprotect {self._words(offset, size)} to {prot}"):
            libc.mprotect(self.address + offset, size, prot)

    def madvise(self, offset: int, size: int, advice: int) -> None:
        """Give advice for pages, which splits the vma if it changes its flags."""
        with trace.call(f"madvise {self._words(offset, size)} {advice}"):
            libc.madvise(self.address + offset, size, advice)

    def mlock(self, offset: int, size: int) -> None:
        """Lock pages, which splits the vma where the kernel can lock them at all."""
        with trace.call(f"mlock {self._words(offset, size)}"):
            libc.mlock(self.address + offset, size)

    def munlock(self, offset: int, size: int) -> None:
        """Unlock pages."""
        with trace.call(f"munlock {self._words(offset, size)}"):
            libc.munlock(self.address + offset, size)

    def mremap(
        self,
        offset: int,
        size: int,
        new_size: int | None = None,
        flags: int = mman.MREMAP_MAYMOVE,
        target: int = 0,
    ) -> "Mapping":
        """Resize or move pages and return them as a mapping of their own.

        The pages leave this mapping, except with MREMAP_DONTUNMAP, where the kernel leaves an
        empty vma behind which this mapping goes on to own.
        """
        new_size = size if new_size is None else new_size
        what = f"mremap {self._words(offset, size)} to {new_size:#x} bytes, flags {flags:#x}"
        with trace.call(what):
            address = libc.mremap(self.address + offset, size, new_size, flags, target)
        if not flags & mman.MREMAP_DONTUNMAP:
            self._left = subtract(self._left, (Area(offset, size),))
        return Mapping(address, new_size, name=self.name, offset=self.offset + offset)

    def replace(self, offset: int, size: int) -> "Mapping":
        """Put anonymous memory over pages with MAP_FIXED and return it; the pages are gone."""
        flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED
        with trace.call(f"mmap anonymous memory over {self._words(offset, size)}"):
            address = libc.mmap(self.address + offset, size, mman.PROT_READ, flags, -1, 0)
        self._left = subtract(self._left, (Area(offset, size),))
        return Mapping(address, size, name="anonymous memory")

    def forget(self, offset: int = 0, size: int | None = None) -> None:
        """Note that pages went by somebody else's doing, for example MAP_FIXED over them."""
        self._left = subtract(self._left, (Area(offset, self.size if size is None else size),))

    def is_mapped(self, offset: int, size: int) -> bool:
        """Return whether all of this range is still mapped, by our own bookkeeping."""
        # What is left is disjoint and does not touch, so one area must cover it all.
        return any(area.offset <= offset and offset + size <= area.end for area in self._left)

    def load(self, offset: int, width: int = 4) -> int:
        """Read 1, 2, 4 or 8 bytes with one load, little endian as the host is."""
        return int(_WIDTHS[width].from_address(self._at(offset, width)).value)

    def store(self, offset: int, value: int, width: int = 4) -> None:
        """Write 1, 2, 4 or 8 bytes with one store."""
        _WIDTHS[width].from_address(self._at(offset, width)).value = value

    def read(self, offset: int, size: int) -> bytes:
        """Copy bytes out, in accesses of whatever width: for memory, not for registers."""
        return ctypes.string_at(self._at(offset, size), size)

    def write(self, offset: int, data: bytes) -> None:
        """Copy bytes in, in accesses of whatever width: for memory, not for registers."""
        ctypes.memmove(self._at(offset, len(data)), data, len(data))

    def _at(self, offset: int, size: int) -> int:
        # A load from an unmapped page would end the whole test run.
        if not self.is_mapped(offset, size):
            raise ValueError(f"{self._words(offset, size)} is not mapped")
        return self.address + offset


def count() -> int:
    """Return how many files this process has mapped with :func:`map_fd` so far."""
    return _Made.count


def map_fd(
    fd: int,
    file_offset: int,
    size: int,
    *,
    prot: int = mman.PROT_READ | mman.PROT_WRITE,
    flags: int = mman.MAP_SHARED,
    address: int = 0,
    name: str = "file",
    offset: int = 0,
) -> Mapping:
    """Map a file range; ``name`` and ``offset`` are how the trace calls it.

    With MAP_FIXED over another mapping tell that one with :meth:`Mapping.forget`. Raises
    :class:`OSError` with the kernel's errno.
    """
    at = Area(offset, size)
    with trace.call(f"mmap {name} {at}"):
        mapped = libc.mmap(address, size, prot, flags, fd, file_offset)
    _Made.count += 1
    return Mapping(mapped, size, name=name, offset=offset)


def reserve(size: int) -> Mapping:
    """Reserve address space without access, as a target for MAP_FIXED and MREMAP_FIXED."""
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    return Mapping(libc.mmap(0, size, mman.PROT_NONE, flags, -1, 0), size, name="reserved memory")


def anonymous(size: int) -> Mapping:
    """Map zeroed memory that can be read and written."""
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    prot = mman.PROT_READ | mman.PROT_WRITE
    return Mapping(libc.mmap(0, size, prot, flags, -1, 0), size, name="anonymous memory")
