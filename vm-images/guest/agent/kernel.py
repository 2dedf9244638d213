# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel says: its log, its taint flags; and what is said through it to the console.

What in it is trouble, the payload knows: conformance/kernel, as for the suite. Before the payload
is there, nothing is checked.
"""

import importlib
import os
from collections.abc import Iterable
from pathlib import Path

from agent.errors import Failure

_LONGEST = 800
"""Characters of a line that the log takes in one piece."""

_SHOWN = 5
"""Reports in the message of a failure; all are in the lines that go with it."""


class KernelLog:
    """The kernel's messages and complaints from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.mark()

    def mark(self) -> None:
        """Forget all that was said so far."""
        os.lseek(self._fd, 0, os.SEEK_END)
        self._records: list[str] = []
        self._taint = _taint()

    def lines(self) -> list[str]:
        """Return what was said since the mark, each record up to its first line end."""
        return [shown(raw) for raw in self._read()]

    def check(self, when: str) -> None:
        """Fail if the kernel complained since the mark.

        Raises:
            Failure: It did.
        """
        if found := complaints(self._read(), _taint() & ~self._taint):
            raise Failure(f"the kernel reported a fault {when}: {'; '.join(found[:_SHOWN])}")

    def _read(self) -> list[str]:
        while True:
            try:
                self._records.append(os.read(self._fd, 8192).decode(errors="replace"))
            except BlockingIOError:
                return self._records
            except BrokenPipeError:  # overwritten before it was read
                continue


def complaints(records: Iterable[str], taint: int) -> list[str]:
    """Return the reports of a fault in records of /dev/kmsg; else words for new taint flags."""
    log = importlib.import_module("conformance.kernel.log")
    trouble = importlib.import_module("conformance.kernel.trouble")
    parsed = (log.parse(raw) for raw in records)
    found: list[str] = log.reports(record for record in parsed if record)
    return found or list(trouble.fault_words(taint))


def shown(raw: str) -> str:
    """Return a record of /dev/kmsg as dmesg shows it."""
    head, _, text = raw.partition(";")
    line = text.partition("\n")[0]
    try:
        return f"[{int(head.split(',')[2]) / 1e6:12.6f}] {line}"
    except (IndexError, ValueError):
        return raw  # nothing that is known


def say(text: str) -> None:
    """Write a line to the kernel log, and so to the console."""
    for start in range(0, len(text), _LONGEST):
        Path("/dev/kmsg").write_text(f"lab-agent: {text[start : start + _LONGEST]}")


def sysrq(key: str) -> None:
    """Press a key of Documentation/admin-guide/sysrq.rst."""
    Path("/proc/sysrq-trigger").write_text(key)


def _taint() -> int:
    return int(Path("/proc/sys/kernel/tainted").read_text())
