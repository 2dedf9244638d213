# SPDX-License-Identifier: GPL-2.0-only
"""Talks to QEMU's monitor (QMP)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from conformance.errors import QemuError

# The library logs each connection that QEMU ends, which is how each of our runs ends.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

_PAUSE = 0.005
"""Seconds between two looks."""


class Monitor:
    """A connection to the monitor of a running QEMU.

    Args:
        socket: The monitor's socket.
        alive: Whether QEMU still runs, asked while its socket is not there yet.
        timeout: Seconds that one command, or the beginning, may take.

    Raises:
        QemuError: QEMU ended, or did not open its monitor in time.
    """

    def __init__(self, socket: Path, alive: Callable[[], bool], timeout: float = 20) -> None:
        self._alive = alive
        self._timeout = timeout
        self._runner = asyncio.Runner()
        self._client = QMPClient("lab")
        try:
            self._runner.run(self._connect(socket))
        except BaseException:
            self._runner.close()
            raise

    def close(self) -> None:
        """End the connection; QEMU may have done so before."""
        with contextlib.suppress(Exception):
            self._runner.run(self._client.disconnect())
        self._runner.close()

    def execute(self, command: str, **arguments: object) -> Any:
        """Run one command and return its answer.

        Raises:
            QemuError: The command failed, or QEMU ended.
        """
        try:
            call = self._client.execute(command, arguments or None)
            return self._runner.run(asyncio.wait_for(call, self._timeout))
        except ExecuteError as error:
            raise QemuError(f"QEMU refused {command}: {error}.") from error
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            what = str(error) or type(error).__name__
            raise QemuError(f"QEMU did not answer {command}: {what}.") from error

    def quit(self) -> None:
        """Ask QEMU to end. It may have done so already."""
        with contextlib.suppress(QemuError):
            self.execute("quit")

    def write_snapshot(self, path: Path) -> None:
        """Stop the guest and write its state to a file, which QEMU creates.

        Raises:
            QemuError: It failed.
        """
        self._use_mapped_ram()
        self.execute("stop")
        self.execute("migrate", channels=[_file(path)])
        self._finish_migration()

    def read_snapshot(self, path: Path) -> None:
        """Bring a QEMU that waits for it to the state in a file, and let it run.

        Raises:
            QemuError: It failed.
        """
        self._use_mapped_ram()
        self.execute("migrate-incoming", channels=[_file(path)])
        self._finish_migration()
        self.execute("cont")

    def _use_mapped_ram(self) -> None:
        # Each page at its own place in the file: no stream to parse, empty pages are holes.
        capability = {"capability": "mapped-ram", "state": True}
        self.execute("migrate-set-capabilities", capabilities=[capability])

    def _finish_migration(self) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            answer = self.execute("query-migrate")
            status = answer.get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise QemuError(f"QEMU's migration {status}: {answer.get('error-desc', '')}")
            if time.monotonic() > deadline:
                raise QemuError(f"QEMU's migration did not end within {self._timeout:g} s.")
            time.sleep(_PAUSE)

    async def _connect(self, socket: Path) -> None:
        deadline = time.monotonic() + self._timeout
        while not (socket.exists() and await self._reached(socket)):
            if not self._alive():
                raise QemuError("QEMU ended while it started.")
            if time.monotonic() > deadline:
                raise QemuError(f"QEMU did not open its monitor within {self._timeout:g} s.")
            await asyncio.sleep(_PAUSE)

    async def _reached(self, socket: Path) -> bool:
        """Connect; False if the socket has its name already, and nobody listens yet."""
        try:
            await asyncio.wait_for(self._client.connect(str(socket)), self._timeout)
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            cause = error.exc if isinstance(error, ConnectError) else error
            if isinstance(cause, ConnectionRefusedError):
                return False
            raise QemuError(f"QEMU's monitor cannot be reached: {error}.") from error
        return True


def _file(path: Path) -> dict[str, object]:
    """Return a channel of a migration to or from a file."""
    address = {"transport": "file", "filename": str(path), "offset": 0}
    return {"channel-type": "main", "addr": address}
