# SPDX-License-Identifier: GPL-2.0-only
"""Functions of the vfio-user server: its process, and plugging them into a guest that has come up.

QEMU cannot put such a function into a snapshot. So the snapshot is one of the machine without
them, and they are plugged into each guest, whether it was booted or restored.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import LabError
from conformance.kernel import console
from conformance.lab.image.definitions import MachineDefinition
from conformance.lab.machine.argv import RunFiles
from conformance.lab.machine.monitor import Monitor
from conformance.running import paths
from kpatch.tools import programs

_TIMEOUT = 10.0
"""Seconds the server may take to start; usually a fraction of one."""


@dataclass(frozen=True)
class Functions:
    """The functions of a server that was started.

    Attributes:
        sockets: Where each is served, by the bus it is to be plugged into.
        process: The server; None without functions.
        log: What it says.
    """

    sockets: dict[str, Path]
    process: programs.Running | None
    log: Path

    def plug(self, monitor: Monitor) -> None:
        """Plug all functions into the running guest.

        Raises:
            LabError: The server did not start.
            QemuError: QEMU does not take a function.
        """
        for bus, socket in self.sockets.items():
            self._await(socket)
            address = {"type": "unix", "path": str(socket)}
            # The bus is the name too: a port has one function.
            monitor.execute(
                "device_add", driver="vfio-user-pci", id=f"function-{bus}", bus=bus, socket=address
            )

    def _await(self, socket: Path) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not socket.exists():
            over = self.process is None or self.process.poll() is not None
            if over or time.monotonic() > deadline:
                said = console.tail(self.log.read_bytes()) if self.log.exists() else ()
                text = "\n".join(f"  {line}" for line in said)
                raise LabError(f"The vfio-user server did not start. Its last output:\n{text}")
            time.sleep(0.005)


@contextlib.contextmanager
def served(machine: MachineDefinition, files: RunFiles) -> Iterator[Functions]:
    """Start the server of a machine's functions, if it has such; it ends with the block."""
    sockets = {bus: files.function(bus) for bus in machine.plugged}
    with contextlib.ExitStack() as stack:
        process = None
        if sockets:
            argv = server_argv(machine, files)
            process = stack.enter_context(programs.start(argv, cwd=paths.KIT, log=files.server_log))
        yield Functions(sockets, process, files.server_log)


def server_argv(machine: MachineDefinition, files: RunFiles) -> list[str]:
    """Return the command that serves a machine's functions."""
    sockets = [str(files.function(bus)) for bus in machine.plugged]
    return [sys.executable, "-m", "conformance.lab.machine.vfio_user", *sockets]
