# SPDX-License-Identifier: GPL-2.0-only
"""ioctls as a 32-bit program makes them, from this 64-bit one: by ``int 0x80`` of x86-64.

The kernel then calls the file's ``compat_ioctl``. All pointers are of 32 bits.
"""

import ctypes
import os
import platform
from errno import ENOSYS
from functools import cache
from typing import Final

from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.memory import libc

_PAGE: Final = 4096
_IOCTL, _GETPID = 54, 20  # numbers of the 32-bit table
#: ``call(number, first, second, third)``: the registers of one ABI into those of the other.
_CODE: Final = bytes(
    (
        *(0x53,),  # push rbx, which a function must keep
        *(0x89, 0xF8),  # mov eax, edi: the number
        *(0x89, 0xF3),  # mov ebx, esi
        *(0x87, 0xD1),  # xchg ecx, edx
        *(0xCD, 0x80),  # int 0x80
        *(0x5B, 0xC3),  # pop rbx; ret
    )
)
_CALL: Final = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 4)


@cache
def missing() -> str:
    """Say why no 32-bit call can be made here; empty if it can."""
    if platform.machine() != "x86_64":
        return "this machine has no 32-bit calls that the suite can make (it is not x86-64)"
    # Where the kernel has no such calls the instruction kills who tries it.
    pid = os.fork()
    if pid == 0:
        os._exit(0 if _call(_GETPID, 0, 0, 0) == os.getpid() else 1)
    return "" if os.waitpid(pid, 0)[1] == 0 else "this kernel takes no calls of 32-bit programs"


def ioctl(fd: int, request: int, data: bytes) -> bytes:
    """Make an ioctl with a copy of ``data`` as its argument, and return what became of it.

    Raises :class:`OSError` with the kernel's errno.
    """
    if missing():
        raise OSError(ENOSYS, missing())
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_32BIT
    address = libc.mmap(0, _PAGE, mman.PROT_READ | mman.PROT_WRITE, flags, -1, 0)
    try:
        ctypes.memmove(address, data, len(data))
        with trace.call(f"32-bit ioctl {request:#x} of descriptor {fd}"):
            result = _call(_IOCTL, fd, request, address)
            if result < 0:
                raise OSError(-result, os.strerror(-result))
        return ctypes.string_at(address, len(data))
    finally:
        libc.munmap(address, _PAGE)


def _call(*arguments: int) -> int:
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    address = libc.mmap(0, _PAGE, mman.PROT_READ | mman.PROT_WRITE, flags, -1, 0)
    try:
        ctypes.memmove(address, _CODE, len(_CODE))
        libc.mprotect(address, _PAGE, mman.PROT_READ | mman.PROT_EXEC)
        return int(_CALL(address)(*arguments))
    finally:
        libc.munmap(address, _PAGE)
