# SPDX-License-Identifier: GPL-2.0-only
"""Reads what a guest wrote to its console. Pure: text in, findings out."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|c)|[\x00-\x08\x0b-\x1f\x7f]")
_TRACES = re.compile(r"Sending NMI from CPU|NMI backtrace for cpu")
_GUESS = re.compile(r"^(\[[ .0-9]+\])? +\? ")  # what lay on the stack, perhaps from before
_WHERE = re.compile(r"NMI backtrace for cpu|RIP: 0010:")
_STAMP = re.compile(r"^\[ *\d+\.\d+\](\[[^\]]*\])? ")

# Where a kernel's report of its own death begins; the first of them is the cause.
_BEGINNINGS = (
    r"BUG: ",
    r"Oops: ",
    r"general protection fault",
    r"kernel BUG at ",
    r"invalid opcode: ",
    r"divide error: ",
    r"(INFO: rcu|rcu: INFO): .*detected .*stall",
    r"watchdog: .*LOCKUP|watchdog: BUG: soft lockup",
    r"INFO: task .* blocked for more than",
    r"NMI: Not continuing|NMI received for unknown reason",
    r"Kernel panic - not syncing: ",
)
_DEATH = re.compile("|".join(_BEGINNINGS))
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_INIT = re.compile(r"^lab-init: (.*)", re.MULTILINE)


@dataclass(frozen=True)
class Death:
    """How a kernel died, in its own words.

    Attributes:
        cause: The line which names the cause, without its time stamp.
        lines: The report: from the cause on.
    """

    cause: str
    lines: tuple[str, ...]


def lines(raw: bytes) -> list[str]:
    """Return the printable lines of a console, without escape sequences and empty lines."""
    text = raw.decode("utf-8", errors="replace").replace("\r", "\n")
    return [line.rstrip() for line in _ESCAPES.sub("", text).split("\n") if line.strip()]


def tail(raw: bytes, count: int = 30) -> tuple[str, ...]:
    """Return the last lines of a console."""
    return tuple(lines(raw)[-count:])


def death(raw: bytes, limit: int = 60) -> Death | None:
    """Return the report of a kernel's death, or None if the console has none.

    Only a panic is a death: a warning or an oops which did not end in one is for the tests to
    judge. The report begins at the last trouble before the panic that led to it.

    Args:
        raw: What the console said.
        limit: How many lines of the report to keep.
    """
    every = lines(raw)
    end = next((i for i, line in enumerate(every) if _PANIC.search(line)), None)
    if end is None:
        return None
    begin = next((i for i, line in enumerate(every[:end]) if _fatal(line)), end)
    report = [line for line in every[begin:] if not _GUESS.search(line)]
    # Behind its own story the kernel shows where each processor was: that line will do.
    traces = next((i for i, line in enumerate(report) if _TRACES.search(line)), len(report))
    report[traces:] = [line for line in report[traces:] if _WHERE.search(line)]
    if len(report) > limit:  # the cause and the end say more than the middle of a trace
        half = limit // 2
        report = [*report[:half], "...", *report[-half:]]
    return Death(_STAMP.sub("", every[begin]), tuple(report))


def init_failure(raw: bytes) -> str:
    """Return why the guest's init gave up, or an empty string if it did not."""
    found = _INIT.search("\n".join(lines(raw)))
    return found[1] if found else ""


def _fatal(line: str) -> bool:
    return bool(_DEATH.search(line))
