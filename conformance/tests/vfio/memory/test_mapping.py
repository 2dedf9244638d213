# SPDX-License-Identifier: GPL-2.0-only
"""Mappings of a memory file: pieces go, move and split, and only what is left is unmapped."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.tests.plugin.raising import raises_errno
from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.memory import libc
from conformance.vfio.memory.areas import Area
from conformance.vfio.memory.mapping import PAGE_SIZE, Mapping, anonymous, map_fd, reserve

PAGES = 6


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("mapping-test")
    os.write(fd, b"".join(bytes([page]) * PAGE_SIZE for page in range(PAGES)))
    yield fd
    os.close(fd)


@pytest.fixture
def mapping(fd: int) -> Iterator[Mapping]:
    with map_fd(fd, 0, PAGES * PAGE_SIZE, name="BAR0") as mapping:
        yield mapping


def _vmas() -> list[tuple[int, int]]:
    """Pages from the start of the file, one pair for each vma."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "mapping-test" in line:
            start, end, offset = (
                int(x, 16) for x in [*re.findall(r"[0-9a-f]+", line)[:2], line.split()[2]]
            )
            found.append((offset // PAGE_SIZE, (offset + end - start) // PAGE_SIZE))
    return sorted(found)


@pytest.mark.parametrize(
    ("first", "count", "vmas"),
    [(0, 1, [(1, 6)]), (5, 1, [(0, 5)]), (2, 2, [(0, 2), (4, 6)]), (0, 6, [])],
    ids=["head", "tail", "hole", "all"],
)
def test_munmap(mapping: Mapping, first: int, count: int, vmas: list[tuple[int, int]]) -> None:
    mapping.munmap(first * PAGE_SIZE, count * PAGE_SIZE)
    assert _vmas() == vmas
    assert mapping.left == tuple(
        Area(start * PAGE_SIZE, (end - start) * PAGE_SIZE) for start, end in vmas
    )


def test_close_leaves_what_came_later(mapping: Mapping) -> None:
    mapping.munmap(PAGE_SIZE, PAGE_SIZE)
    other = mapping.address + PAGE_SIZE
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED
    libc.mmap(other, PAGE_SIZE, mman.PROT_READ, flags, -1, 0)
    mapping.close()
    assert _vmas() == []
    stranger = Mapping(other, PAGE_SIZE)
    assert stranger.load(0) == 0
    stranger.close()


def test_mprotect_and_madvise_split(mapping: Mapping) -> None:
    mapping.mprotect(PAGE_SIZE, PAGE_SIZE, mman.PROT_READ)
    mapping.madvise(3 * PAGE_SIZE, PAGE_SIZE, mman.MADV_DONTFORK)
    assert _vmas() == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]
    mapping.close()
    assert _vmas() == []


def test_mlock_and_munlock(mapping: Mapping) -> None:
    mapping.mlock(PAGE_SIZE, PAGE_SIZE)
    assert len(_vmas()) == 3
    mapping.munlock(PAGE_SIZE, PAGE_SIZE)


def test_mremap_moves_a_part(mapping: Mapping) -> None:
    with reserve(PAGE_SIZE) as place:
        flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
        target = place.address
        place.forget()
        moved = mapping.mremap(2 * PAGE_SIZE, PAGE_SIZE, flags=flags, target=target)
        with moved:
            assert moved.address == target
            assert moved.load(0, 1) == 2
            assert moved.left_in_region == (Area(2 * PAGE_SIZE, PAGE_SIZE),)
            assert not mapping.is_mapped(2 * PAGE_SIZE, PAGE_SIZE)
            assert mapping.is_mapped(3 * PAGE_SIZE, 3 * PAGE_SIZE)
            assert _vmas() == [(0, 2), (2, 3), (3, 6)]
    assert _vmas() == [(0, 2), (3, 6)]


def test_mremap_shrinks(mapping: Mapping) -> None:
    with mapping.mremap(0, PAGES * PAGE_SIZE, PAGE_SIZE, flags=0) as rest:
        assert _vmas() == [(0, 1)]
        assert rest.size == PAGE_SIZE
        assert mapping.left == ()


def test_replace_takes_pages_away(mapping: Mapping) -> None:
    with mapping.replace(PAGE_SIZE, PAGE_SIZE) as memory:
        assert _vmas() == [(0, 1), (2, 6)]
        assert memory.load(0) == 0


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_load_and_store(mapping: Mapping, width: int) -> None:
    value = 0x8877665544332211 & ((1 << 8 * width) - 1)
    mapping.store(8, value, width)
    assert mapping.load(8, width) == value
    assert mapping.read(8, 8) == value.to_bytes(8, "little")


def test_a_load_from_a_hole_is_a_mistake_not_a_crash(mapping: Mapping) -> None:
    mapping.munmap(PAGE_SIZE, PAGE_SIZE)
    with pytest.raises(ValueError, match=r"BAR0 \[0x1ffe, 0x2002\) is not mapped"):
        mapping.load(2 * PAGE_SIZE - 2)
    with pytest.raises(ValueError, match="is not mapped"):
        mapping.write(PAGE_SIZE - 1, b"ab")


def test_the_errno_comes_through(fd: int) -> None:
    with raises_errno(errno.EINVAL):
        map_fd(fd, 1, PAGE_SIZE)


def test_bytes_can_be_written(mapping: Mapping, fd: int) -> None:
    mapping.write(3, b"abc")
    assert os.pread(fd, 3, 3) == b"abc"


def test_the_trace_tells_region_offsets(fd: int) -> None:
    trace.start()
    with map_fd(fd, PAGE_SIZE, PAGE_SIZE, name="BAR0", offset=PAGE_SIZE):
        pass
    assert trace.lines() == ["mmap BAR0 [0x1000, 0x2000) = ok", "munmap BAR0 [0x1000, 0x2000) = ok"]


def test_anonymous_memory() -> None:
    with anonymous(PAGE_SIZE) as memory:
        memory.store(0, 7)
        assert memory.load(0) == 7
