# SPDX-License-Identifier: GPL-2.0-only
"""Talks to QEMU's monitor and to the program in its guest, both over Unix sockets."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_PAUSE: Final = 0.05
_CONNECT: Final = 120.0
_ANSWER: Final = 240.0


class Lost(Exception):
    """QEMU, or its guest, does not answer any more."""


class Refused(Exception):
    """QEMU refused a command; the text is its own."""


def connect(path: Path, alive: Callable[[], bool]) -> socket.socket:
    """Connect to a socket of QEMU's that may not be there yet.

    Args:
        path: The socket.
        alive: Whether QEMU still runs.

    Raises:
        Lost: It did not come, or QEMU has ended.
    """
    deadline = time.monotonic() + _CONNECT
    while True:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(path))
        except OSError as error:
            made.close()
            if time.monotonic() > deadline or not alive():
                what = "QEMU is slow" if alive() else "QEMU ended while it started"
                raise Lost(f"{what}: {path.name}: {error}") from error
            time.sleep(_PAUSE)
        else:
            made.settimeout(_ANSWER)
            return made


class Qmp:
    """A connection to a monitor."""

    def __init__(self, path: Path, alive: Callable[[], bool] = lambda: True) -> None:
        self._socket = connect(path, alive)
        self._lines = self._socket.makefile("rb")
        self._receive()
        self.run("qmp_capabilities")

    def close(self) -> None:
        """Close it. QEMU goes on."""
        self._lines.close()
        self._socket.close()

    def run(self, command: str, **arguments: object) -> Any:
        """Run a command; arguments may be spelt with `_` for `-`.

        Raises:
            Refused: QEMU does not do it.
            Lost: It is gone.
        """
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        order = json.dumps({"execute": command, "arguments": named})
        try:
            self._socket.sendall(order.encode() + b"\n")
        except OSError as error:
            raise Lost(f"{command}: {error}") from error
        while True:
            found = self._receive()
            if "error" in found:
                raise Refused(found["error"]["desc"])
            if "return" in found:
                return found["return"]

    def migration(self, wanted: Callable[[str], bool], patience: float) -> dict[str, Any]:
        """Wait until the status of the migration is wanted, and return what QEMU says of it.

        Raises:
            Lost: That did not come within so many seconds, or QEMU is gone.
        """
        deadline = time.monotonic() + patience
        while not wanted(str((found := dict(self.run("query-migrate"))).get("status"))):
            if time.monotonic() > deadline:
                raise Lost(f"the migration does not end: {found}")
            time.sleep(_PAUSE)
        return found

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise Lost(str(error)) from error
        if not line:
            raise Lost("QEMU closed its monitor")
        found: dict[str, Any] = json.loads(line)
        return found


class Program:
    """The program in QEMU's guest, at the other end of a serial port."""

    def __init__(self, path: Path, alive: Callable[[], bool] = lambda: True) -> None:
        self._socket = connect(path, alive)
        self._lines = self._socket.makefile("rb")

    def close(self) -> None:
        """Close the port."""
        self._lines.close()
        self._socket.close()

    def ask(self, line: str) -> str:
        """Send a command and return its answer, without the `ok`.

        Raises:
            Lost: There is no answer, or a refusal.
        """
        try:
            self._socket.sendall(line.encode() + b"\n")
            said = self._lines.readline().decode(errors="replace").strip()
        except OSError as error:
            raise Lost(f"the guest does not answer {line!r}: {error}") from error
        if not said.startswith("ok"):
            raise Lost(f"the guest answers {line!r} with {said!r}")
        return said.removeprefix("ok").strip()
