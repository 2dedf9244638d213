# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel says: its log, its taint flags; and what is said through it to the console."""

import os
from pathlib import Path

from agent.errors import Failure

_TAINTS = {
    5: "bad page",
    7: "oops or BUG",
    9: "warning",
    14: "soft lockup",
}
"""Flags that are faults. A driver that is out of the tree and unsigned sets others, rightly."""

_LONGEST = 800
"""Characters of a line that the log takes in one piece."""


class KernelLog:
    """The kernel's messages and complaints from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.mark()

    def mark(self) -> None:
        """Forget all that was said so far."""
        os.lseek(self._fd, 0, os.SEEK_END)
        self._taint = _taint()

    def lines(self) -> list[str]:
        """Return what was said since the mark."""
        found: list[str] = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return found
            except BrokenPipeError:  # overwritten before it was read
                continue
            head, _, text = record.partition(";")
            stamp = int(head.split(",")[2]) / 1e6
            found.append(f"[{stamp:12.6f}] {text.partition(chr(10))[0]}")

    def check(self, when: str) -> None:
        """Fail if the kernel complained since the mark.

        Raises:
            Failure: It did.
        """
        new = _taint() & ~self._taint
        if faults := [what for bit, what in _TAINTS.items() if new >> bit & 1]:
            raise Failure(f"the kernel reported a fault {when}: {', '.join(faults)}")


def say(text: str) -> None:
    """Write a line to the kernel log, and so to the console."""
    for start in range(0, len(text), _LONGEST):
        Path("/dev/kmsg").write_text(f"lab-agent: {text[start : start + _LONGEST]}")


def sysrq(key: str) -> None:
    """Press a key of Documentation/admin-guide/sysrq.rst."""
    Path("/proc/sysrq-trigger").write_text(key)


def _taint() -> int:
    return int(Path("/proc/sys/kernel/tainted").read_text())
