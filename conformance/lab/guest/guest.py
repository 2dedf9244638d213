# SPDX-License-Identifier: GPL-2.0-only
"""Talks to the agent in the guest; diagnoses a guest that does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from conformance import errors
from conformance.errors import (
    ConformanceError,
    GuestHung,
    GuestPanicked,
    GuestSilent,
    LabError,
    QemuError,
)
from conformance.events.kinds import Agent, AgentError, Event, Phase, Result, Start
from conformance.events.stream import EventDecoder
from conformance.kernel import console
from conformance.lab.machine.argv import RunFiles
from conformance.lab.machine.monitor import Monitor
from kpatch.tools.programs import Running

_STACKS = 3.0
"""Seconds a hung guest gets to write to its console where it hangs."""


class Guest:
    """A guest whose QEMU runs.

    Attributes:
        monitor: QEMU's monitor.
        files: The files of its run.

    Args:
        process: The running QEMU.
        files: The files of its run.
        monitor: QEMU's monitor.
    """

    def __init__(self, process: Running, files: RunFiles, monitor: Monitor) -> None:
        self.files = files
        self.monitor = monitor
        self._process = process
        self._decoder = EventDecoder()
        self._pending: list[Event] = []
        self._last = "it was started"
        self._exit = os.pidfd_open(process.pid)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(files.events))

    def close(self) -> None:
        """Close the port. QEMU goes on."""
        self._socket.close()
        os.close(self._exit)

    @property
    def descriptors(self) -> tuple[int, int]:
        """What becomes readable when `poll` has something to say."""
        return self._socket.fileno(), self._exit

    def poll(self) -> Event | None:
        """Return an event if there is one.

        Raises:
            ConformanceError: The guest is gone.
        """
        return self._next(0)

    def order(self, name: str, **details: object) -> None:
        """Tell the waiting agent what to do.

        Raises:
            ConformanceError: The guest is gone.
        """
        # Guests from the same snapshot would draw the same random numbers.
        chance = os.urandom(32).hex()
        order = {"order": name, "time": time.time(), "entropy": chance, **details}
        line = json.dumps(order) + "\n"
        try:
            self._socket.sendall(line.encode())
        except OSError as error:
            raise self._ended() from error

    def wait_ready(self, timeout: float) -> None:
        """Wait until the agent has come up.

        Raises:
            GuestSilent: It has not, within `timeout` seconds.
            GuestPanicked: The kernel died before.
            LabError: The guest or QEMU gave up.
        """
        deadline = time.monotonic() + timeout
        while True:
            event = self._next(deadline - time.monotonic())
            if event is None:
                reason = f"The guest did not come up within {timeout:g} s."
                raise GuestSilent(reason, self._stuck())
            match event:
                case AgentError(message=message):
                    raise errors.AgentError(f"The guest cannot run the suite: {message}")
                case Agent(Phase.READY):
                    return

    def events(self, quiet: float) -> Iterator[Event]:
        """Yield all that the guest says, up to and including that it is done.

        Args:
            quiet: Seconds without an event after which it counts as hung.

        Raises:
            GuestHung: It did not say anything for so long.
            GuestPanicked: The kernel died.
            LabError: QEMU gave up.
            EventError: What came is not an event.
        """
        while True:
            event = self._next(quiet)
            if event is None:
                raise self.hung(quiet)
            yield event
            if is_end(event):
                return

    def hung(self, quiet: float) -> GuestHung:
        """Return the error that no event came for so many seconds, with where the kernel is."""
        reason = f"No event came from the guest for {quiet:g} s after {self._last}."
        return GuestHung(reason, self._stuck())

    def _next(self, timeout: float) -> Event | None:
        """Return the next event, or None if there is none in time."""
        deadline = time.monotonic() + timeout
        while not self._pending:
            left = deadline - time.monotonic()
            ready = select.select(self.descriptors, [], [], max(left, 0))[0]
            if self._socket.fileno() in ready:
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = self._socket.recv(1 << 16)
                self._pending += self._decoder.feed(data)
                if not data:  # QEMU closed the port: it ends
                    self._process.wait(5)
                    raise self._ended()
            elif self._exit in ready:
                raise self._ended()
            elif left <= 0:
                return None
        event = self._pending.pop(0)
        self._last = _describe(event) or self._last
        return event

    def _stuck(self) -> tuple[str, ...]:
        """Return the end of the console, after asking the kernel where it is."""
        with contextlib.suppress(QemuError):
            self.monitor.execute("inject-nmi")
            self._process.wait(_STACKS)  # the kernel panics, which ends QEMU
        raw = self._console()
        report = console.death(raw)
        return report.lines if report else console.tail(raw)

    def _ended(self) -> ConformanceError:
        """Return what the end of QEMU means."""
        raw = self._console()
        if report := console.death(raw):
            reason = f"The kernel of the guest died after {self._last}: {report.cause}"
            return GuestPanicked(reason, report.lines)
        if failure := console.init_failure(raw):
            return LabError(f"The guest could not come up: {failure}.")
        status = self._process.wait(5)
        if status:
            said = "\n".join(f"  {line}" for line in console.tail(_read(self.files.qemu_log)))
            return QemuError(f"QEMU ended with status {status}. Its last output:\n{said}")
        reason = f"The guest reset or switched off the machine after {self._last}."
        return GuestPanicked(reason, console.tail(raw))

    def _console(self) -> bytes:
        return _read(self.files.console_log)


def is_end(event: Event) -> bool:
    """Return whether the guest has finished its order."""
    return isinstance(event, Agent) and event.phase == Phase.DONE


def _read(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def _describe(event: Event) -> str:
    """Say in words where the guest is after an event."""
    match event:
        case Start(name):
            return f"test {name} began"
        case Result(name):
            return f"test {name} ended"
        case Agent(phase):
            return f"its agent's phase {phase!r}"
    return ""
