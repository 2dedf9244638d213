# SPDX-License-Identifier: GPL-2.0-only
"""A guest in which a test runs commands, through the shell on its console."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.lab.boot import bootkernel
from conformance.lab.check import driver
from conformance.lab.guest import bringup as session
from conformance.lab.guest import payload
from conformance.lab.guest.bringup import ready_guest
from conformance.lab.guest.guest import Guest
from conformance.lab.guest.payload import Job
from conformance.lab.guest.qemu import run_folder
from conformance.lab.image.definitions import MachineDefinition
from conformance.lab.image.image import Image
from conformance.lab.machine import lab
from conformance.running import paths
from conformance.running.steps import Steps
from kpatch.device import load as device
from kpatch.module import info as module

_TIMEOUT = 120.0
_BEGIN, _END = "<<begin:", ":end>>"
_PREPARE = """\
stty -echo
dmesg -n 1
release=$(uname -r); tree=/run/kit/modules/lib/modules/$release
mkdir -p /lib/modules; ln -sfn $tree /lib/modules/$release
devices=/sys/bus/pci/devices
shown() { (echo $1; cat /run/said) | base64 -w0 >/run/shown; show; }
show() { echo; echo "<<""begin:$(cat /run/shown):""end>>"; }
"""


@dataclass
class Shell:
    """The shell. Commands are short: a line of a terminal has at most 4095 characters."""

    console: socket.socket
    guest: Guest

    def __post_init__(self) -> None:
        self._said = ""
        for line in _PREPARE.splitlines():
            self._send(line)

    def run(self, command: str) -> tuple[int, str]:
        """Run a command line, and return its status and what it printed."""
        self._said = ""
        path = "/run/command"
        for number in range(0, len(command), 1000):
            part = base64.b64encode(command[number : number + 1000].encode()).decode()
            self._send(f"echo {part} | base64 -d {'>>' if number else '>'}{path}")
        self._send(f". {path} >/run/said 2>&1; shown $?")
        deadline = time.monotonic() + _TIMEOUT
        while _END not in self._said.partition(_BEGIN)[2]:
            self._read(deadline)
        packed = self._said.partition(_BEGIN)[2].partition(_END)[0]
        status, _, said = base64.b64decode("".join(packed.split())).decode().partition("\n")
        return int(status), said

    def do(self, command: str) -> str:
        """Run a command line that succeeds, and return what it printed."""
        status, said = self.run(command)
        assert status == 0, f"{command}: {status}\n{said}"
        return said

    def _send(self, line: str) -> None:
        self.console.sendall(line.encode() + b"\n")

    def _read(self, deadline: float) -> None:
        ready = select.select([self.console], [], [], max(0, deadline - time.monotonic()))[0]
        data = self.console.recv(65536) if ready else b""
        assert data, f"the guest does not answer; it said last: {self._said[-2000:]}"
        self._said += data.decode(errors="replace")


@contextlib.contextmanager
def guest_shell(
    image: Image,
    machine: MachineDefinition,
    logs: Path,
    *,
    also: Sequence[str] = (),
    files: Mapping[str, Path] | None = None,
) -> Iterator[Shell]:
    """Boot a machine, and give its shell; the driver of igb-vf is installed in it, not loaded.

    Args:
        image: What it boots.
        machine: The machine; its functions are left to the test.
        logs: Takes the logs.
        also: Modules of the kernel that are installed too.
        files: Other files, by name: /run/kit/trials/NAME.ko in the guest.
    """
    steps = Steps(lambda _line: None)
    kernel = bootkernel.of_image(image)
    path = driver.build(device.load("igb-vf"), kernel, logs, steps)
    assert path
    one = lab.assemble(image, image, kernel, machine)
    staged = paths.cache() / "stage" / image.folder.name
    staged.mkdir(parents=True, exist_ok=True)
    kit = payload.stage_kit(paths.KIT, image.sandbox, staged, logs / "stage.log")
    job = Job(module="", parameters=(), hints=(), tests=(), pytest_args=(), quiet=60)
    with run_folder(logs) as run, without_snapshot():
        info = module.read(path)
        tree = payload.stage_modules([info], kernel, image.sandbox, run.folder, also)
        payload.write(run.payload, job, kit, tree, files)
        with (
            ready_guest(one, run, steps, cold=True) as guest,
            socket.socket(socket.AF_UNIX) as console,
        ):
            console.connect(str(run.console))
            guest.order("shell", rows=24, columns=200, term="dumb")
            yield Shell(console, guest)


@contextlib.contextmanager
def without_snapshot() -> Iterator[None]:
    """Within the block, leave no snapshot: a machine of a test is booted once."""
    before = session._part
    setattr(session, "_part", lambda _target, _stack: None)  # noqa: B010 - for mypy
    try:
        yield
    finally:
        setattr(session, "_part", before)  # noqa: B010
