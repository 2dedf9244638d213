# SPDX-License-Identifier: GPL-2.0-only
"""Gives the user a shell on the console."""

import fcntl
import os
import shlex
import struct
import termios
from collections.abc import Mapping, Sequence
from typing import Any

from agent import suite
from agent.job import KIT

_CONSOLE = "/dev/ttyS0"


def run(order: Mapping[str, Any], job: Mapping[str, Any], functions: Sequence[str]) -> None:
    """Run a shell until the user leaves it."""
    words = ["python3", "-m", "pytest", *suite.command(job, functions)]
    greeting = (
        f"{job['module'] or 'No module'} is loaded, functions: {' '.join(functions) or 'none'}.\n"
        f"The suite: {shlex.join(words)}\n"
    )
    child = os.fork()
    if child == 0:
        try:
            _be_shell(order, greeting)
        finally:
            os._exit(127)
    os.waitpid(child, 0)


def _be_shell(order: Mapping[str, Any], greeting: str) -> None:
    os.setsid()
    console = os.open(_CONSOLE, os.O_RDWR)
    fcntl.ioctl(console, termios.TIOCSCTTY, 0)
    size = struct.pack("HHHH", order["rows"], order["columns"], 0, 0)
    fcntl.ioctl(console, termios.TIOCSWINSZ, size)
    for fd in range(3):
        os.dup2(console, fd)
    os.write(1, greeting.encode())
    os.chdir(KIT)
    settings = {"TERM": order["term"], "HOME": "/root", "PS1": r"lab:\w# "}
    os.execvpe("bash", ["bash", "--norc", "-i"], {**os.environ, **settings})  # noqa: S606
