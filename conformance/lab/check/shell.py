# SPDX-License-Identifier: GPL-2.0-only
"""Gives the user a prompt in the guest, through its serial console."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

from conformance import errors
from conformance.events.kinds import AgentError
from conformance.lab.check.prepare import LabRequest, contents, prepare
from conformance.lab.guest.guest import Guest, is_end
from conformance.lab.guest.run import guest
from conformance.running.steps import Steps

_LEAVE = b"\x1d"
"""Ctrl-], which telnet and consoles of other machines use to leave."""

_END = b"\x04"
"""Ctrl-D, the end of what a shell reads."""


def shell(request: LabRequest, logs: Path, steps: Steps) -> None:
    """Run the lab and connect this terminal to it until the shell there ends.

    Args:
        request: What is asked for.
        logs: Where console and build log go.
        steps: Reports progress to the user.

    Raises:
        ConformanceError: The lab failed, or the guest is lost.
        KpatchError: The driver does not build.
    """
    prepared = prepare(request, logs, steps)
    if prepared is None:
        return
    size = shutil.get_terminal_size()
    inside = contents(request, prepared)
    with guest(prepared.lab, inside, logs, steps, cold=request.options.cold) as running:
        steps.say("Leave with exit, Ctrl-D or, at any time, Ctrl-].")
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as console, _raw_terminal():
            console.connect(str(running.files.console))
            term = os.environ.get("TERM", "dumb")
            running.order("shell", rows=size.lines, columns=size.columns, term=term)
            _relay(console, running)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Pass every key on as it is, Ctrl-C included, if this is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _relay(console: socket.socket, guest: Guest) -> None:
    """Copy keys to the guest and its output here, until it is done or the user leaves."""
    inputs: list[int] = [sys.stdin.fileno(), console.fileno(), *guest.descriptors]
    while True:
        ready = select.select(inputs, [], [])[0]
        if console.fileno() in ready:
            # What the guest said last counts even if it is gone now.
            os.write(sys.stdout.fileno(), console.recv(65536))
        if sys.stdin.fileno() in ready:
            keys = os.read(sys.stdin.fileno(), 4096)
            if not keys:
                inputs.remove(sys.stdin.fileno())
            elif keys == _LEAVE:
                return
            console.sendall(keys or _END)
        if any(descriptor in ready for descriptor in guest.descriptors):
            event = guest.poll()
            if isinstance(event, AgentError):
                klog = "\r\n".join(event.klog)
                raise errors.AgentError(f"{event.phase}: {event.message}\r\n{klog}")
            if event and is_end(event):
                return
