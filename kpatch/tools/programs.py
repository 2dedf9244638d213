# SPDX-License-Identifier: GPL-2.0-only
"""The one place that starts programs.

Every command is a list, is logged as a line that can be pasted into a shell, and leaves nothing
behind: each program leads a session of its own, and that whole session is ended on a timeout, on
Ctrl-C and when the program itself ends. Should this process die without a word (SIGKILL), the
kernel ends the program.

The kernel ties that last promise to the *thread* that started the program: start a long-lived
one from a thread that lives as long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from kpatch.errors import ProgramFailed, ProgramMissing, ProgramTimeout
from kpatch.tools.processes import collect, die_with, end, session

logger = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds between the request to end (SIGTERM) and the end (SIGKILL)."""

TAIL_LINES = 25
"""How much of a failed program's output its error shows."""

PACKAGES = {
    "bwrap": "bubblewrap",
    "cpio": "cpio",
    "depmod": "kmod",
    "gcc": "gcc",
    "git": "git",
    "make": "make",
    "mkfs.erofs": "erofs-utils",
    "mmdebstrap": "mmdebstrap",
    "modprobe": "kmod",
    "perl": "perl",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "sparse": "sparse",
    "tar": "tar",
    "zstd": "zstd",
}
"""The Debian package of each program that the kit starts."""

_dry: ContextVar[Callable[[str], None] | None] = ContextVar("_dry", default=None)


def command_line(
    argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Return a shell line that does the same.

    >>> command_line(["make", "-C", "a b"], cwd=Path("/srv"), env={"V": "1"})
    "cd /srv && V=1 make -C 'a b'"
    """
    before = f"cd {shlex.quote(str(cwd))} && " if cwd else ""
    before += "".join(f"{key}={shlex.quote(value)} " for key, value in (env or {}).items())
    return before + shlex.join(argv)


@contextlib.contextmanager
def dry_run(printer: Callable[[str], None]) -> Iterator[None]:
    """Within the block, hand each command line to `printer` instead of running it.

    Every program then seems to succeed without output.
    """
    token = _dry.set(printer)
    try:
        yield
    finally:
        _dry.reset(token)


def dry() -> bool:
    """Whether a `dry_run` block is active."""
    return _dry.get() is not None


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    timeout: float | None = None,
    input: str | None = None,  # noqa: A002 - the name that subprocess.run() gives it
    check: bool = True,
    hint: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its output.

    Args:
        argv: The command; its first item is looked up in PATH.
        cwd: Directory to run it in.
        env: Variables to add to those of this process.
        log: File to which the command line and all output are appended while it runs.
        timeout: Seconds after which it is ended.
        input: Text for its standard input, which is otherwise empty.
        check: Whether a status other than 0 is an error.
        hint: What to do if it fails; becomes part of the error.

    Raises:
        ProgramMissing: There is no such program.
        ProgramTimeout: It ran into `timeout`.
        ProgramFailed: It could not be started, or ended with another status than 0.
    """
    if _announce(argv, cwd, env, log):
        return subprocess.CompletedProcess(list(argv), 0, "", "")
    with contextlib.ExitStack() as stack:
        stdin: IO[str] | int = subprocess.DEVNULL
        if input is not None:
            stdin = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            stdin.write(input)
            stdin.seek(0)
        sink = stack.enter_context(log.open("ab")) if log else None
        with _start_errors(argv, cwd, hint):
            process = stack.enter_context(
                session(
                    argv,
                    cwd=cwd,
                    env=_environment(env),
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    grace=GRACE,
                )
            )
        output = collect(process, sink, timeout)
    tail = "\n".join(output.both.splitlines()[-TAIL_LINES:])
    if not output.ended:
        raise ProgramTimeout(argv, timeout or 0, tail, hint)
    if check and process.returncode:
        inside = re.search(r"bwrap: execvp ([^:\n]+): No such file or directory", output.err)
        if inside:
            raise _missing(argv, inside[1], hint)
        raise ProgramFailed(argv, process.returncode, tail, hint)
    return subprocess.CompletedProcess(list(argv), process.returncode, output.out, output.err)


class Running:
    """A program that runs in the background.

    Attributes:
        argv: Its command.
        pid: Its process id; 0 in a dry run.
    """

    def __init__(self, argv: Sequence[str], process: subprocess.Popen[bytes] | None) -> None:
        self.argv = tuple(argv)
        self.pid = process.pid if process else 0
        self._process = process

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self._process.poll() if self._process else 0

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, at most `timeout` seconds. Return as `poll`."""
        if not self._process:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def stop(self, grace: float = GRACE) -> None:
        """Ask it to end, and end it with its session if it has not after `grace` seconds."""
        if self._process:
            end(self._process, grace)


@contextlib.contextmanager
def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    pass_fds: Sequence[int] = (),
    grace: float = GRACE,
    hint: str = "",
) -> Iterator[Running]:
    """Run a program in the background; it ends with the block at the latest.

    Args:
        argv: The command.
        cwd: Directory to run it in.
        env: Variables to add to those of this process.
        log: File to which the command line and all output are appended; dropped without it.
        pass_fds: File descriptors that it inherits.
        grace: Seconds it has to end when the block does.
        hint: What to do if it cannot be started.

    Raises:
        ProgramMissing: There is no such program.
        ProgramFailed: It could not be started.
    """
    if _announce(argv, cwd, env, log):
        yield Running(argv, None)
        return
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
        with _start_errors(argv, cwd, hint):
            process = stack.enter_context(
                session(
                    argv,
                    cwd=cwd,
                    env=_environment(env),
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    pass_fds=pass_fds,
                    grace=grace,
                )
            )
        yield Running(argv, process)


def interact(
    argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> int:
    """Run a program that the user talks to through this terminal, and return its status.

    It gets Ctrl-C itself, as it would from a shell, and this process waits for it. To be called
    from the main thread.

    Raises:
        ProgramMissing: There is no such program.
        ProgramFailed: It could not be started.
    """
    if _announce(argv, cwd, env, None):
        return 0
    # A handler that does nothing, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda _signal, _frame: None)
    try:
        with _start_errors(argv, cwd, ""):
            return subprocess.run(
                argv,
                cwd=cwd,
                env=_environment(env),
                check=False,
                preexec_fn=die_with(os.getpid()),
            ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _announce(
    argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None, log: Path | None
) -> bool:
    """Print or log the command line; return whether this is a dry run."""
    line = command_line(argv, cwd=cwd, env=env)
    printer = _dry.get()
    if printer:
        printer(line)
        return True
    logger.info("%s", line)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {line}\n")
    return False


@contextlib.contextmanager
def _start_errors(argv: Sequence[str], cwd: Path | None, hint: str) -> Iterator[None]:
    """Turn what `Popen` raises into our errors."""
    try:
        yield
    except OSError as error:
        if cwd and str(error.filename) == str(cwd):
            what = f"{argv[0]} cannot be run in {cwd}: {error.strerror}."
        elif isinstance(error, FileNotFoundError):
            raise _missing(argv, argv[0], hint) from error
        else:
            what = f"{argv[0]} cannot be run: {error.strerror}."
        raise ProgramFailed(argv, 126, hint=hint, what=what) from error


def _missing(argv: Sequence[str], program: str, hint: str) -> ProgramMissing:
    return ProgramMissing(argv, program, PACKAGES.get(Path(program).name, ""), hint)


def _environment(env: Mapping[str, str] | None) -> dict[str, str] | None:
    return {**os.environ, **env} if env else None
