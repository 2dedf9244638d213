# SPDX-License-Identifier: GPL-2.0-only
"""Other processes that map, hold, unmap and die on command.

A child is forked, inherits the mappings and descriptors of the test, and serves calls that
come over a socket of its own. It ends when that socket closes, so nothing outlives the test run.
"""

import contextlib
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from conformance.closing import Closing
from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.children.server import Reply, Request, serve
from conformance.vfio.errors import ChildDied, ChildError, ChildTimeout
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.region import Region

#: Seconds within which a child has to answer; an emulated machine is slow.
TIMEOUT: Final = 20.0

_living: "dict[int, Child]" = {}
_lock: Final = threading.Lock()


class Child(Closing):
    """A process that executes calls. Make it with :func:`fork_child`.

    Its methods raise what the call raised there, :class:`ChildDied` or :class:`ChildTimeout`.
    """

    def __init__(self, pid: int, sock: socket.socket, *, ours: bool) -> None:
        self.pid = pid
        self._socket = sock
        self._ours = ours
        self._status: int | None = None
        self._pidfd = os.pidfd_open(pid)
        with _lock:
            _living[pid] = self

    def call(self, function: Callable[..., Any], *args: Any, timeout: float = TIMEOUT) -> Any:
        """Call a function there and return its result.

        The function must be importable, or a method of something that can be pickled: a
        :class:`~conformance.vfio.memory.mapping.Mapping` made before the fork, a region, a device.
        """
        value, fds = self._request(Request(function, args), timeout=timeout)
        for fd in fds:
            os.close(fd)
        return value

    def map(
        self,
        region: Region,
        offset: int = 0,
        size: int | None = None,
        *,
        prot: int = mman.PROT_READ | mman.PROT_WRITE,
        flags: int = mman.MAP_SHARED,
        fd: int | None = None,
    ) -> "RemoteMapping":
        """Map a range of a region there, through the inherited descriptor or ``fd`` there."""
        size = region.size - offset if size is None else size
        fd = region.device.fd if fd is None else fd
        placed = self._do(
            "map", (fd, region.offset + offset, size, prot, flags, region.name, offset)
        )
        return RemoteMapping(self, *placed)

    def adopt(self, mapping: Mapping) -> "RemoteMapping":
        """Take hold, there, of a mapping that was inherited through the fork."""
        return RemoteMapping(self, *self._do("adopt", (mapping,)))

    def send_fd(self, fd: int) -> int:
        """Pass a descriptor over the socket and return its number there."""
        value, _ = self._request(Request("receive", ()), fds=(fd,))
        return int(value)

    def close_fd(self, fd: int) -> None:
        """Close a descriptor there."""
        self.call(os.close, fd)

    def fork(self) -> "Child":
        """Let it fork and return the grandchild, which obeys in the same way."""
        pid, fds = self._request(Request("fork", ()))
        return Child(pid, socket.socket(fileno=fds[0]), ours=False)

    def vfork_exec(self) -> int:
        """Let it vfork and exec a program that sleeps; returns the program's pid.

        The program dies with the child.
        """
        return int(self._do("vfork_exec", (_sleeper(),)))

    def exec(self) -> None:
        """Replace its program by one that sleeps; its mappings go. Only :meth:`kill` is left."""
        self._socket.settimeout(TIMEOUT)
        self._socket.send(pickle.dumps(Request("exec", (_sleeper(),))))
        # The socket closes on exec; an answer means that exec failed.
        data = self._socket.recv(1 << 16)
        if data:
            raise ChildError(f"process {self.pid} could not exec: {pickle.loads(data).value}")  # noqa: S301
        if self.dead(0):
            raise ChildDied(f"process {self.pid} ended instead of executing a program")

    def exit(self) -> None:
        """Let it end by itself, and wait."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.wait()

    def kill(self) -> None:
        """SIGKILL it, and wait until it is gone with all its mappings."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        trace.note(f"SIGKILL to process {self.pid}")
        self.wait()

    def dead(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for its end and return whether it came."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def wait(self, timeout: float = TIMEOUT) -> None:
        """Wait for its end; raises :class:`ChildTimeout`."""
        if not self.dead(timeout):
            raise ChildTimeout(f"process {self.pid} did not end within {timeout:g} s")
        if self._ours and self._status is None:
            _, self._status = os.waitpid(self.pid, 0)

    def close(self) -> None:
        """End it, by force if need be, and forget it. Does nothing the second time."""
        with _lock:
            if _living.pop(self.pid, None) is None:
                return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if not self.dead(0.2):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        try:
            self.wait()
        finally:
            os.close(self._pidfd)

    def _do(self, action: str, args: tuple[Any, ...]) -> Any:
        return self._request(Request(action, args))[0]

    def _request(
        self, request: Request, *, fds: tuple[int, ...] = (), timeout: float = TIMEOUT
    ) -> tuple[Any, list[int]]:
        self._socket.settimeout(timeout)
        try:
            socket.send_fds(self._socket, [pickle.dumps(request)], list(fds))
            data, received, _, _ = socket.recv_fds(self._socket, 1 << 20, 4)
        except TimeoutError:
            self.kill()
            raise ChildTimeout(
                f"process {self.pid} did not answer {request} within {timeout:g} s"
            ) from None
        except (BrokenPipeError, ConnectionError) as error:
            raise ChildDied(f"process {self.pid} is gone: {error}") from None
        if not data:
            raise ChildDied(f"process {self.pid} ended instead of answering {request}")
        reply: Reply = pickle.loads(data)  # noqa: S301 - from our own fork
        for line in reply.trace:
            trace.note(f"process {self.pid}: {line}")
        if reply.error is not None:
            raise reply.error
        return reply.value, list(received)


class RemoteMapping:
    """A mapping held in a child process, under the methods of a local one.

    ``address`` is where it begins in the memory of that process.
    """

    def __init__(self, child: Child, key: int, address: int) -> None:
        self.child = child
        self.address = address
        self._key = key

    def do(self, method: str, *args: Any) -> Any:
        """Call a method of the mapping there, one that returns something that can be pickled."""
        return self.child._do("mapping", (self._key, method, args))

    def munmap(self, offset: int = 0, size: int | None = None) -> None:
        """Unmap pages there; without arguments all of it."""
        self.do("munmap", offset, size)

    def mprotect(self, offset: int, size: int, prot: int) -> None:
        """Change the protection of pages there."""
        self.do("mprotect", offset, size, prot)

    def load(self, offset: int, width: int = 4) -> int:
        """Read with one load there."""
        return int(self.do("load", offset, width))

    def store(self, offset: int, value: int, width: int = 4) -> None:
        """Write with one store there."""
        self.do("store", offset, value, width)


def fork_child() -> Child:
    """Fork a process that obeys. It inherits every mapping and descriptor of this one.

    The kernel kills it when the forking thread ends: fork from the thread that waits for it.
    """
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _lock:
        others = [child._socket for child in _living.values()]
        pid = os.fork()
        if not pid:
            serve(there, close=(here, *others))
    there.close()
    trace.note(f"fork = process {pid}")
    return Child(pid, here, ours=True)


def kill_leftovers() -> int:
    """End every child that is still there and return how many there were."""
    with _lock:
        left = list(_living.values())
    for child in left:
        child.close()
    return len(left)


@contextlib.contextmanager
def sleeping_program(*, pass_fds: tuple[int, ...] = ()) -> Iterator[int]:
    """Vfork and exec a program that sleeps, for a block; yields its pid.

    ``pass_fds`` stay open in it. It inherits no mapping, as exec has it.
    """
    process = subprocess.Popen(_sleeper(), pass_fds=pass_fds)
    trace.note(f"vfork and exec = process {process.pid}")
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _sleeper() -> list[str]:
    program = shutil.which("sleep")
    if program is None:
        raise ChildError("there is no `sleep` program; the Debian package coreutils has it")
    return [program, "600"]
