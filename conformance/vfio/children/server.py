# SPDX-License-Identifier: GPL-2.0-only
"""The other side of :mod:`conformance.vfio.children.children`: the loop of a child process."""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from conformance.vfio import trace
from conformance.vfio.errors import ChildError
from conformance.vfio.memory import libc
from conformance.vfio.memory.mapping import Mapping, map_fd

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Request:
    """What to do: a function, or the name of one of the actions below."""

    what: Callable[..., Any] | str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        name = self.what if isinstance(self.what, str) else self.what.__qualname__
        return f"{name}{self.args}"


@dataclass(frozen=True)
class Reply:
    """What came of it: a value or an error, and the calls that were made."""

    value: Any
    error: BaseException | None
    trace: list[str]


class _Server:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.held: list[Mapping] = []
        self.programs: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self.socket, 1 << 20, 4)
            if not data:
                return
            self.socket_reply(pickle.loads(data), fds)  # noqa: S301 - from our own parent

    def socket_reply(self, request: Request, fds: list[int]) -> None:
        trace.start()
        back: list[int] = []
        try:
            value, error = self.answer(request, fds, back), None
        except Exception as caught:
            value, error = None, caught
        try:
            data = pickle.dumps(Reply(value, error, trace.lines()))
            if error is not None:
                pickle.loads(data)  # noqa: S301 - our own; not every exception survives this
        except Exception:
            words = ChildError(f"{request} gave {value!r} and {error!r}, which cannot be sent")
            data = pickle.dumps(Reply(None, words, []))
        socket.send_fds(self.socket, [data], back)
        for fd in back:
            os.close(fd)

    def answer(self, request: Request, fds: list[int], back: list[int]) -> Any:
        if not isinstance(request.what, str):
            return request.what(*request.args)
        if request.what == "receive":
            return fds[0]
        if request.what == "fork":
            pid, fd = self.fork()
            back.append(fd)
            return pid
        return getattr(self, f"do_{request.what}")(*request.args)

    def fork(self) -> tuple[int, int]:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if not pid:
            # Not to die with this process: a test wants to see a grandchild outlive it.
            serve(there, close=(here, self.socket), die_with_parent=False)
        there.close()
        return pid, here.detach()

    def do_map(  # noqa: PLR0917 - they come over a socket as a tuple
        self, fd: int, file_offset: int, size: int, prot: int, flags: int, name: str, offset: int
    ) -> tuple[int, int]:
        return self.do_adopt(
            map_fd(fd, file_offset, size, prot=prot, flags=flags, name=name, offset=offset)
        )

    def do_adopt(self, mapping: Mapping) -> tuple[int, int]:
        self.held.append(mapping)
        return len(self.held) - 1, mapping.address

    def do_mapping(self, key: int, method: str, args: tuple[Any, ...]) -> Any:
        return getattr(self.held[key], method)(*args)

    def do_vfork_exec(self, argv: list[str]) -> int:
        self.programs.append(subprocess.Popen(argv))
        return self.programs[-1].pid

    def do_exec(self, argv: list[str]) -> NoReturn:
        os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted

    def end(self) -> None:
        for program in self.programs:
            program.kill()


def serve(
    sock: socket.socket, *, close: Iterable[socket.socket], die_with_parent: bool = True
) -> NoReturn:
    """Obey until the socket closes, then end the process; never returns to the test's code.

    ``close`` are the ends that belong to the parent: open here, they would keep others alive.
    """
    status = 1
    try:
        if die_with_parent:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is the parent's affair
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended grandchildren are not awaited here
        for other in close:
            other.close()
        server = _Server(sock)
        with contextlib.suppress(ConnectionError):
            server.run()
        server.end()
        status = 0
    finally:
        os._exit(status)
