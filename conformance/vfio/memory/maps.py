# SPDX-License-Identifier: GPL-2.0-only
"""Mappings of VFIO devices as /proc shows them: of any process, whoever made them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.vfio.memory import libc
from conformance.vfio.memory.areas import Area
from conformance.vfio.region import Region

_LINE: Final = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<perms>\S{4}) (?P<offset>[0-9a-f]+) "
    r"\S+ (?P<inode>\d+)\s*(?P<path>.*)"
)
_MARK: Final = "vfio"  # in every line of interest; most lines go without the expression
_FILES: Final = ("anon_inode:[vfio-device]", "/dev/vfio/devices/")


@dataclass(frozen=True)
class Vma:
    """A vma of a VFIO device file; ``offset`` is the file offset that the kernel shows."""

    start: int
    end: int
    offset: int
    perms: str

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


def _is_device(path: str) -> bool:
    return any(name in path for name in _FILES)


def parse(text: str) -> list[Vma]:
    """Return the vmas of VFIO devices among the lines of a ``maps`` file."""
    if _MARK not in text:
        return []
    matches = (_LINE.match(line) for line in text.splitlines() if _MARK in line)
    return [
        Vma(int(m["start"], 16), int(m["end"], 16), int(m["offset"], 16), m["perms"])
        for m in matches
        if m and _is_device(m["path"])
    ]


def vmas(pid: int | str = "self") -> list[Vma]:
    """Return a process's vmas of VFIO devices; none if it is gone."""
    try:
        return parse(Path(f"/proc/{pid}/maps").read_text(encoding="utf-8"))
    except (FileNotFoundError, ProcessLookupError):
        return []


def mapped_areas(region: Region, pid: int | str = "self", *, bus_address: int = -1) -> list[Area]:
    """Return which ranges of a region a process has mapped, from the region's start.

    Kernels before 6.10 show the bus address of a BAR in place of the file offset: give it (the
    first number in sysfs' ``resource`` file) as ``bus_address`` and both forms are understood.
    """
    found = []
    for vma in vmas(pid):
        for base in (region.offset, bus_address):
            if 0 <= base <= vma.offset < base + region.size:
                found.append(Area(vma.offset - base, vma.size))
                break
    return found


def unmap_leaked() -> int:
    """Unmap every VFIO mapping of this process and return how many there were."""
    leaked = vmas()
    for vma in leaked:
        libc.munmap(vma.start, vma.size)
    return len(leaked)


def close_leaked(known: set[int]) -> int:
    """Close every VFIO device descriptor that is not in ``known``; return how many."""
    closed = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a Path for each is too slow here
        fd = int(name)
        try:
            if fd not in known and _is_device(os.readlink(f"/proc/self/fd/{fd}")):  # noqa: PTH115
                os.close(fd)
                closed += 1
        except OSError:
            continue  # the descriptor of the listing itself
    return closed
