# SPDX-License-Identifier: GPL-2.0-only
"""Memory that the kernel has lost: asks kmemleak, as debug kernels have it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KMEMLEAK: Final = Path("/sys/kernel/debug/kmemleak")
_AGE: Final = 5.5  # seconds; kmemleak says nothing of what is younger than 5


@dataclass(frozen=True)
class Leak:
    """An allocation nobody points to any more.

    Attributes:
        what: address, size and process, in the kernel's words.
        backtrace: who made it, innermost first.
    """

    what: str
    backtrace: tuple[str, ...]

    def __str__(self) -> str:
        return " < ".join((self.what, *self.backtrace))


def missing(path: Path = KMEMLEAK) -> str:
    """Say why the kernel cannot be asked, or return nothing if it can."""
    if not path.exists():
        return f"no {path}: this kernel is built without DEBUG_KMEMLEAK, or debugfs not mounted"
    try:
        path.read_text()
    except OSError as error:
        return f"{path}: {error.strerror}: kmemleak has switched itself off"
    return ""


def scan(path: Path = KMEMLEAK) -> list[Leak]:
    """Look for leaks and return all that were not seen before. Takes some seconds."""
    time.sleep(_AGE)
    # An object is reported when its contents did not change from one scan to the next.
    for _ in range(2):
        path.write_text("scan")
    found = parse(path.read_text())
    path.write_text("clear")
    return found


def parse(text: str) -> list[Leak]:
    r"""Read kmemleak's report.

    >>> parse('unreferenced object 0x1 (size 8):\n  backtrace (crc 0):\n    [<0>] f+0x1/0x2\n')
    [Leak(what='unreferenced object 0x1 (size 8)', backtrace=('f+0x1/0x2',))]
    """
    leaks = []
    for block in text.split("unreferenced object ")[1:]:
        head, *rest = block.splitlines()
        comm = next((line.strip() for line in rest if line.strip().startswith("comm ")), "")
        at = next((n for n, line in enumerate(rest) if "backtrace" in line), len(rest))
        trace = [line.split("] ")[-1].strip() for line in rest[at + 1 :] if line.strip()]
        what = "unreferenced object " + head.rstrip(":") + (f", {comm}" if comm else "")
        leaks.append(Leak(what, tuple(trace)))
    return leaks
