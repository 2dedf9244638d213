# SPDX-License-Identifier: GPL-2.0-only
"""A child process that leaves nothing behind: how `programs` starts, reads and ends one."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_STUCK = 20.0
"""Seconds after which a killed process that is still there hangs in the kernel."""


@dataclass(frozen=True)
class Output:
    """What a program wrote.

    Attributes:
        out: Its standard output.
        err: Its standard error.
        both: Both, in the order in which they came.
        ended: Whether it ended by itself, rather than ran out of time.
    """

    out: str
    err: str
    both: str
    ended: bool


def die_with(parent: int) -> Callable[[], None]:
    """Return what a child does before exec: ask the kernel to be killed when `parent` goes."""
    prctl = _libc().prctl

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before we could ask
            os._exit(1)

    return before_exec


@contextlib.contextmanager
def session(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: IO[str] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int,
    stderr: int,
    pass_fds: Sequence[int] = (),
    grace: float,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program as the leader of a new session, and end that session with the block.

    Args:
        argv: The command.
        cwd: Directory to run it in.
        env: Its whole environment; that of this process without it.
        stdin: As for `subprocess.Popen`, like `stdout`, `stderr` and `pass_fds`.
        stdout: See there.
        stderr: See there.
        pass_fds: See there.
        grace: Seconds between SIGTERM and SIGKILL, should it still run at the end.

    Raises:
        OSError: It could not be started.
    """
    deliver = _held_back()
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            start_new_session=True,
            # Safe with threads: between fork and exec it makes two system calls and takes no lock.
            preexec_fn=die_with(os.getpid()),  # noqa: PLW1509
        )
    except BaseException:
        deliver()
        raise
    try:
        deliver()
        yield process
    finally:
        end(process, grace)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def _held_back() -> Callable[[], None]:
    """Hold back signals that end this process; return what lets them come.

    Their handlers raise. Around a fork Python runs hooks and drops what is raised in them, and what
    is raised before the caller knows the child would leave it behind.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # no handler runs here
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _ENDING}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda number, _frame: came.append(number))

    def deliver() -> None:
        for number, handler in held.items():
            signal.signal(number, handler)
        for one in came:
            held[signal.Signals(one)](one, None)

    return deliver


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a session: ask its leader, then kill all who are left."""
    try:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace)
    finally:
        # Also after the leader's end, for its children, and on a second Ctrl-C.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STUCK)


def collect(
    process: subprocess.Popen[bytes], sink: IO[bytes] | None, timeout: float | None
) -> Output:
    """Read both pipes of a program until it ends, or until `timeout` seconds have passed.

    The end of the program decides: a grandchild that keeps the pipes open is not waited for.
    All output is also written to `sink` as it comes.
    """
    assert process.stdout
    assert process.stderr
    deadline = None if timeout is None else time.monotonic() + timeout
    parts: dict[int, list[bytes]] = {process.stdout.fileno(): [], process.stderr.fileno(): []}
    both: list[bytes] = []
    exit_fd = os.pidfd_open(process.pid)
    ended = False
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, exit_fd)
        selector = stack.enter_context(selectors.DefaultSelector())
        for fd in (*parts, exit_fd):
            selector.register(fd, selectors.EVENT_READ)
        while True:
            left = 0.0 if ended else None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0:
                break
            ready = [key.fd for key, _ in selector.select(left)]
            if ended and not ready:
                break
            for fd in ready:
                if fd == exit_fd:
                    ended = True
                    selector.unregister(fd)
                elif data := os.read(fd, 65536):
                    parts[fd].append(data)
                    both.append(data)
                    if sink:
                        sink.write(data)
                        sink.flush()
                else:
                    selector.unregister(fd)
    if ended:
        process.wait()
    out, err = (_text(chunks) for chunks in parts.values())
    return Output(out, err, _text(both), ended)


def _text(chunks: Sequence[bytes]) -> str:
    # What is no UTF-8 is shown as the bytes that it is.
    return b"".join(chunks).decode(errors="backslashreplace")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
