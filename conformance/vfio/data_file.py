# SPDX-License-Identifier: GPL-2.0-only
"""The file that carries a device's migration data, ``data_fd``: every operation a user can try."""

import ctypes
import fcntl
import os
import select
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from conformance.closing import Closing
from conformance.uapi import ioctls, mman
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import vfio_precopy_info
from conformance.vfio import trace
from conformance.vfio.memory import libc

READABLE: Final = select.POLLIN | select.POLLRDNORM
"""What poll says of a file of which a read gives data, or the end."""

PRECOPY_INFO_SIZE: Final = ctypes.sizeof(vfio_precopy_info)
_UNWRITTEN: Final = 0xA5A5A5A5A5A5A5A5


@dataclass(frozen=True)
class PrecopyInfo:
    """The answer to VFIO_MIG_GET_PRECOPY_INFO: estimates in bytes, and flags."""

    flags: int
    initial_bytes: int
    dirty_bytes: int


class DataFile(Closing):
    """One data_fd, or a duplicate of it.

    Its user closes it; that neither ends nor leaves the state of the device. Every call raises
    :class:`OSError` with the kernel's errno, and is recorded.
    """

    def __init__(self, fd: int, *, prefix: str = "") -> None:
        self.fd = fd
        self.prefix = prefix

    def close(self) -> None:
        """Close the descriptor. Does nothing the second time."""
        if self.fd >= 0:
            with trace.call(self._what("close")):
                os.close(self.fd)
            self.fd = -1

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; none where the stream ends."""
        with trace.call(self._what(f"read {size}")) as done:
            data = os.read(self.fd, size)
            done.result = f"{len(data)} bytes"
        return data

    def write(self, data: bytes) -> int:
        """Write, and return how many bytes were taken."""
        with trace.call(self._what(f"write {len(data)}")) as done:
            count = os.write(self.fd, data)
            done.result = f"{count} bytes"
        return count

    def read_to(self, address: int, size: int) -> int:
        """Read to raw memory, which may be unmapped (EFAULT), and return the byte count."""
        with trace.call(self._what(f"read {size} to {address:#x}")) as done:
            count = libc.read_to(self.fd, address, size)
            done.result = f"{count} bytes"
        return count

    def write_from(self, address: int, size: int) -> int:
        """Write from raw memory, which may be unmapped (EFAULT), and return the byte count."""
        with trace.call(self._what(f"write {size} from {address:#x}")) as done:
            count = libc.write_from(self.fd, address, size)
            done.result = f"{count} bytes"
        return count

    def readv(self, sizes: Sequence[int]) -> bytes:
        """Read into several buffers, and return what came, joined."""
        buffers = [bytearray(size) for size in sizes]
        with trace.call(self._what(f"readv {list(sizes)}")) as done:
            count = os.readv(self.fd, buffers)
            done.result = f"{count} bytes"
        return b"".join(bytes(buffer) for buffer in buffers)[:count]

    def writev(self, parts: Sequence[bytes]) -> int:
        """Write from several buffers, and return how many bytes were taken."""
        with trace.call(self._what(f"writev {[len(part) for part in parts]}")) as done:
            count = os.writev(self.fd, parts)
            done.result = f"{count} bytes"
        return count

    def splice_to(self, pipe: int, size: int) -> int:
        """Move up to ``size`` bytes to a pipe without a copy, and return how many."""
        with trace.call(self._what(f"splice {size} to a pipe")) as done:
            count = os.splice(self.fd, pipe, size)
            done.result = f"{count} bytes"
        return count

    def splice_from(self, pipe: int, size: int) -> int:
        """Move up to ``size`` bytes from a pipe without a copy, and return how many."""
        with trace.call(self._what(f"splice {size} from a pipe")) as done:
            count = os.splice(pipe, self.fd, size)
            done.result = f"{count} bytes"
        return count

    def pread(self, size: int, offset: int) -> bytes:
        """Read at an offset, which a stream has not."""
        with trace.call(self._what(f"pread {size} at {offset:#x}")):
            return os.pread(self.fd, size, offset)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write at an offset, which a stream has not."""
        with trace.call(self._what(f"pwrite {len(data)} at {offset:#x}")):
            return os.pwrite(self.fd, data, offset)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, which a stream does not let."""
        with trace.call(self._what(f"lseek {offset:#x}")):
            return os.lseek(self.fd, offset, whence)

    def mmap(self, size: int, prot: int = mman.PROT_READ) -> int:
        """Map shared, and return the address; the caller unmaps."""
        with trace.call(self._what(f"mmap {size:#x}")):
            return libc.mmap(0, size, prot, mman.MAP_SHARED, self.fd, 0)

    def poll(self, events: int = select.POLLIN, timeout: float = 0.0) -> int:
        """Wait up to ``timeout`` seconds for events, and return which came; 0 for none."""
        poller = select.poll()
        poller.register(self.fd, events)
        with trace.call(self._what(f"poll {events:#x} for {timeout:g} s")) as done:
            found = poller.poll(timeout * 1000)
            result = found[0][1] if found else 0
            done.result = f"{result:#x}"
        return result

    def set_blocking(self, blocking: bool) -> None:
        """Clear or set O_NONBLOCK."""
        with trace.call(self._what("clear O_NONBLOCK" if blocking else "set O_NONBLOCK")):
            os.set_blocking(self.fd, blocking)

    @property
    def closes_on_exec(self) -> bool:
        """Whether FD_CLOEXEC is set."""
        return bool(fcntl.fcntl(self.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    @property
    def is_writable(self) -> bool:
        """Whether it was opened to be written: data of a load."""
        return fcntl.fcntl(self.fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY

    def duplicate(self) -> "DataFile":
        """Return another descriptor of the same open file, with the same position."""
        with trace.call(self._what("dup")) as done:
            fd = os.dup(self.fd)
            done.result = str(fd)
        return type(self)(fd, prefix=self.prefix)

    def ioctl(self, request: int, argument: int = 0) -> int:
        """Make any ioctl with a number as its argument."""
        with trace.call(self._what(f"ioctl {request:#x}")):
            return ioctl(self.fd, request, argument)

    def precopy_info(self, argsz: int = PRECOPY_INFO_SIZE, *, flags: int = 0) -> PrecopyInfo:
        """Ask how much there is to read. ``argsz`` and ``flags`` are passed in as they are.

        The two numbers are odd before the call, so that one that was not written shows.

        Behind the struct is memory up to ``argsz``, and never less than the struct.
        """
        buffer = ctypes.create_string_buffer(max(argsz, PRECOPY_INFO_SIZE))
        head = vfio_precopy_info(
            argsz=argsz, flags=flags, initial_bytes=_UNWRITTEN, dirty_bytes=_UNWRITTEN
        )
        ctypes.memmove(buffer, ctypes.byref(head), PRECOPY_INFO_SIZE)
        with trace.call(self._what(f"PRECOPY_INFO argsz {argsz}")) as done:
            ioctl(self.fd, ioctls.VFIO_MIG_GET_PRECOPY_INFO, buffer)
            answer = vfio_precopy_info.from_buffer_copy(buffer)
            done.result = (
                f"initial {answer.initial_bytes:#x} dirty {answer.dirty_bytes:#x} "
                f"flags {answer.flags:#x}"
            )
        return PrecopyInfo(answer.flags, answer.initial_bytes, answer.dirty_bytes)

    def precopy_info_at(self, address: int) -> int:
        """Ask the same with an argument at an address, and return the ioctl's result."""
        with trace.call(self._what(f"PRECOPY_INFO at {address:#x}")) as done:
            result = libc.ioctl_at(self.fd, ioctls.VFIO_MIG_GET_PRECOPY_INFO, address)
            done.result = str(result)
        return result

    def _what(self, call: str) -> str:
        return f"{self.prefix}data_fd {self.fd}: {call}"
