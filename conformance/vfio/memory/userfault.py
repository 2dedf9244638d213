# SPDX-License-Identifier: GPL-2.0-only
"""Memory that is missing until the process provides it: userfaultfd(2).

A virtual machine monitor has it for the memory of a guest that arrives by post-copy. Numbers and
structs are those of ``linux/userfaultfd.h``.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import select
import struct
import threading
import time
from typing import Final

from conformance.closing import Closing
from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.memory import libc

_SYSCALL: Final = {"x86_64": 323}.get(platform.machine(), 282)  # 282: the table all others share
_API: Final = struct.Struct("=QQQ")  # struct uffdio_api
_REGISTER: Final = struct.Struct("=QQQQ")  # struct uffdio_register
_COPY: Final = struct.Struct("=QQQQq")  # struct uffdio_copy
_UFFD_API: Final = 0xAA
_MODE_MISSING: Final = 1
_EVENT_PAGEFAULT: Final = 0x12
_MESSAGE: Final = 32  # size of struct uffd_msg


def _request(number: int, size: int) -> int:
    return 3 << 30 | size << 16 | _UFFD_API << 8 | number  # _IOWR


class Userfault(Closing):
    """Takes pages of the process away, and provides them some time after they are missed.

    A thread provides them. So the pages may be read by system calls, which let other threads of
    Python run, and not by Python itself.

    Args:
        address: Where they are; whole pages of private anonymous memory.
        content: What they hold, and will hold.
        delay: Seconds that whoever reads them waits.

    Attributes:
        faults: How often one was missed.
        provided: How often one was provided.

    Raises:
        OSError: The kernel has no userfaultfd (ENOSYS), or the user may not use it (EPERM).
    """

    def __init__(self, address: int, content: bytes, delay: float) -> None:
        self._address = address
        self._source = ctypes.create_string_buffer(content, len(content))
        self._delay = delay
        self.faults = 0
        self.provided = 0
        with trace.call("userfaultfd"):
            self._fd = libc.syscall(_SYSCALL, os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(self._fd, _request(0x3F, _API.size), _API.pack(_UFFD_API, 0, 0))
            asked = _REGISTER.pack(address, len(content), _MODE_MISSING, 0)
            fcntl.ioctl(self._fd, _request(0x00, _REGISTER.size), asked)
            libc.madvise(address, len(content), mman.MADV_DONTNEED)
        except OSError:
            os.close(self._fd)
            raise
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)
        self._thread: threading.Thread | None = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Provide nothing more: pages that are still missing are zero from now on."""
        if self._thread is None:
            return
        os.close(self._end)
        self._thread.join()
        self._thread = None
        os.close(self._ended)
        os.close(self._fd)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._ended], [], [])
            if self._ended in ready:
                return
            message = os.read(self._fd, _MESSAGE)
            if message[0] == _EVENT_PAGEFAULT:
                self.faults += 1
                time.sleep(self._delay)
                self._provide(int.from_bytes(message[16:24], "little"))

    def _provide(self, missed: int) -> None:
        at = missed // mmap.PAGESIZE * mmap.PAGESIZE
        source = ctypes.addressof(self._source) + at - self._address
        asked = _COPY.pack(at, source, mmap.PAGESIZE, 0, 0)
        self.provided += 1  # before whoever waits goes on
        fcntl.ioctl(self._fd, _request(0x03, _COPY.size), asked)
