# SPDX-License-Identifier: GPL-2.0-only
"""Memory for arguments that the kernel cannot read or write."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from conformance.uapi import mman
from conformance.vfio.memory import libc

PAGE: Final = 4096


@contextmanager
def read_only(data: bytes) -> Iterator[int]:
    """Provide the address of a page that begins with these bytes and cannot be written."""
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    address = libc.mmap(0, PAGE, mman.PROT_READ | mman.PROT_WRITE, flags, -1, 0)
    ctypes.memmove(address, data, len(data))
    libc.mprotect(address, PAGE, mman.PROT_READ)
    try:
        yield address
    finally:
        libc.munmap(address, PAGE)
