# SPDX-License-Identifier: GPL-2.0-only
"""The journal of changes to this machine, with the old values; one JSON object per line.

Each line is written before its change, so that after a SIGKILL at any point all changes are
known. An incomplete last line means that its change was not made.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from conformance.errors import LabError
from conformance.host.errors import Reason, Refused
from conformance.host.paths import HostPaths

_SCHEMA = 1


@dataclass(frozen=True)
class FunctionBefore:
    """A PCI function as it was: the driver it was bound to, the driver it was reserved for."""

    bdf: str
    driver: str | None
    override: str


@dataclass(frozen=True)
class ModulesBefore:
    """Modules that were not loaded, in the order in which they were going to be."""

    names: Sequence[str]


@dataclass(frozen=True)
class SuiteMark:
    """The mark in the environment of all processes of the suite: ``VFIO_KIT_RUN=mark``."""

    mark: str


Step = FunctionBefore | ModulesBefore | SuiteMark

_KINDS: dict[str, type[FunctionBefore] | type[ModulesBefore] | type[SuiteMark]] = {
    "function": FunctionBefore,
    "modules": ModulesBefore,
    "suite": SuiteMark,
}


@dataclass(frozen=True)
class Record:
    """Contents of a journal: its writer, the boot, and the steps in order."""

    pid: int
    boot_id: str
    steps: Sequence[Step] = field(default=())


class Journal:
    """The journal of this machine; one process may hold it at a time.

    Attributes:
        path: The file; it exists while there is something to undo.
    """

    def __init__(self, host: HostPaths) -> None:
        self.path = host.state / "journal"
        self._host = host

    def begin(self) -> None:
        """Begin a journal. Raises :class:`OSError`."""
        head = {"schema": _SCHEMA, "pid": os.getpid(), "boot_id": self._host.boot_id}
        self._append(head, os.O_CREAT | os.O_EXCL)

    def note(self, step: Step) -> None:
        """Record a step before it is taken. Raises :class:`OSError`."""
        kind = next(kind for kind, form in _KINDS.items() if isinstance(step, form))
        self._append({"step": kind, **asdict(step)}, 0)

    def read(self) -> Record | None:
        """Return the record; None if there is none.

        Raises:
            LabError: The file is not one of ours.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        whole = text.split("\n")[:-1]  # what comes after the last newline was never finished
        if not whole:
            return Record(0, self._host.boot_id)
        try:
            head, *lines = (json.loads(line) for line in whole)
            if head["schema"] != _SCHEMA:
                raise ValueError(f"schema {head['schema']}")
            return Record(head["pid"], head["boot_id"], [_step(line) for line in lines])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LabError(
                f"{self.path} is damaged, or of another version of this kit ({error}). It says "
                "what to put back on this machine: look into it, put that back by hand, and "
                "remove it. A reboot puts everything back as well."
            ) from error

    def end(self) -> None:
        """Remove the journal: everything is undone."""
        self.path.unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any], flags: int) -> None:
        flags |= os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o600)
        try:
            os.write(fd, json.dumps(entry).encode() + b"\n")
        finally:
            os.close(fd)


def _step(line: dict[str, Any]) -> Step:
    kind = line.pop("step")
    return _KINDS[kind](**line)


@contextlib.contextmanager
def the_journal(host: HostPaths) -> Iterator[Journal]:
    """Hold the journal of this machine for a block.

    Raises:
        Refused: Another process has it.
        OSError: It cannot be written.
    """
    host.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = Path(host.state / "lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the kernel when we end
        except BlockingIOError:
            other = os.pread(fd, 32, 0).decode().strip() or "?"
            what = f"Another run on this machine, process {other}, is active."
            raise Refused([Reason(what, "Wait until it ends, or interrupt it.")]) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield Journal(host)
    finally:
        os.close(fd)
