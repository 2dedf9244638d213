# SPDX-License-Identifier: GPL-2.0-only
"""Constants of ``sys/mman.h`` that Python's own :mod:`mmap` module lacks or has only lately."""

from typing import Final

PROT_NONE: Final = 0
PROT_READ: Final = 1
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4

MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_32BIT: Final = 0x40  # of x86-64
MAP_POPULATE: Final = 0x8000
MAP_FIXED_NOREPLACE: Final = 0x100000

MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2
MREMAP_DONTUNMAP: Final = 4

MADV_NORMAL: Final = 0
MADV_RANDOM: Final = 1
MADV_SEQUENTIAL: Final = 2
MADV_DONTNEED: Final = 4
MADV_DONTFORK: Final = 10
MADV_DOFORK: Final = 11
MADV_DONTDUMP: Final = 16
MADV_DODUMP: Final = 17
