# SPDX-License-Identifier: GPL-2.0-only
"""The memory calls of libc, through ctypes: Python's own mmap hides addresses and pieces.

Each raises :class:`OSError` with the kernel's errno. Addresses are plain integers.
"""

import ctypes
import os
from ctypes import c_int, c_long, c_size_t, c_ssize_t, c_ulong, c_void_p
from typing import Any, Final

_MAP_FAILED: Final = c_void_p(-1).value

NOWHERE: Final = 0x1000
"""An address where nothing is: below the least that Linux lets a process map."""


def _bind(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(_LIBC, name)
    function.restype = result
    function.argtypes = arguments
    return function


_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_mmap: Final = _bind("mmap", c_void_p, c_void_p, c_size_t, c_int, c_int, c_int, c_long)
_munmap: Final = _bind("munmap", c_int, c_void_p, c_size_t)
_mprotect: Final = _bind("mprotect", c_int, c_void_p, c_size_t, c_int)
_mremap: Final = _bind("mremap", c_void_p, c_void_p, c_size_t, c_size_t, c_int, c_void_p)
_madvise: Final = _bind("madvise", c_int, c_void_p, c_size_t, c_int)
_remap_file_pages: Final = _bind(
    "remap_file_pages", c_int, c_void_p, c_size_t, c_int, c_size_t, c_int
)
_mlock: Final = _bind("mlock", c_int, c_void_p, c_size_t)
_munlock: Final = _bind("munlock", c_int, c_void_p, c_size_t)
_pread: Final = _bind("pread", c_ssize_t, c_int, c_void_p, c_size_t, c_long)
_pwrite: Final = _bind("pwrite", c_ssize_t, c_int, c_void_p, c_size_t, c_long)
_read: Final = _bind("read", c_ssize_t, c_int, c_void_p, c_size_t)
_write: Final = _bind("write", c_ssize_t, c_int, c_void_p, c_size_t)
_ioctl: Final = _bind("ioctl", c_int, c_int, c_ulong, c_void_p)
_syscall: Final = _bind("syscall", c_long, c_long, c_long)
_prctl: Final = _bind("prctl", c_int, c_int, c_ulong, c_ulong, c_ulong, c_ulong)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _check(status: int) -> int:
    if status < 0:
        raise _error()
    return status


def _address(result: int | None) -> int:
    if result == _MAP_FAILED:
        raise _error()
    return result or 0


def mmap(  # noqa: PLR0917 - the arguments of mmap(2), in its order
    address: int, size: int, prot: int, flags: int, fd: int, offset: int
) -> int:
    """Map and return the address; ``address`` 0 lets the kernel choose."""
    return _address(_mmap(address or None, size, prot, flags, fd, offset))


def munmap(address: int, size: int) -> None:
    """Unmap whole pages; ranges that are not mapped are no error, as the kernel has it."""
    _check(_munmap(address, size))


def mprotect(address: int, size: int, prot: int) -> None:
    """Change the protection of whole pages, which may split a vma."""
    _check(_mprotect(address, size, prot))


def mremap(address: int, old: int, new: int, flags: int, target: int = 0) -> int:
    """Move or resize and return the new address; ``target`` counts with MREMAP_FIXED."""
    return _address(_mremap(address, old, new, flags, target or None))


def remap_file_pages(address: int, size: int, page: int) -> None:
    """Let pages of a shared mapping show the file from another page on; the kernel maps anew."""
    _check(_remap_file_pages(address, size, 0, page, 0))


def madvise(address: int, size: int, advice: int) -> None:
    """Give advice for whole pages, which may split a vma."""
    _check(_madvise(address, size, advice))


def mlock(address: int, size: int) -> None:
    """Lock whole pages, which may split a vma."""
    _check(_mlock(address, size))


def munlock(address: int, size: int) -> None:
    """Unlock whole pages."""
    _check(_munlock(address, size))


def pread_to(fd: int, address: int, size: int, offset: int) -> int:
    """Read into raw memory, which may be unmapped (EFAULT), and return the byte count."""
    return _check(_pread(fd, address or None, size, offset))


def pwrite_from(fd: int, address: int, size: int, offset: int) -> int:
    """Write from raw memory, which may be unmapped (EFAULT), and return the byte count."""
    return _check(_pwrite(fd, address or None, size, offset))


def read_to(fd: int, address: int, size: int) -> int:
    """Read at the file's position into raw memory, and return the byte count."""
    return _check(_read(fd, address or None, size))


def write_from(fd: int, address: int, size: int) -> int:
    """Write at the file's position from raw memory, and return the byte count."""
    return _check(_write(fd, address or None, size))


def ioctl_at(fd: int, request: int, address: int) -> int:
    """Make an ioctl whose argument is at an address, which may be unmapped or read-only."""
    return _check(_ioctl(fd, request, address or None))


def prctl(option: int, value: int) -> None:
    """Call prctl with one argument."""
    _check(_prctl(option, value, 0, 0, 0))


def syscall(number: int, argument: int) -> int:
    """Make a system call of one argument, for which libc has no function."""
    return _check(int(_syscall(number, argument)))
