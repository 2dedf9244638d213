# SPDX-License-Identifier: GPL-2.0-only
"""Reads what a guest wrote to its console. Pure: text in, findings out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.kernel import trouble
from conformance.kernel.trouble import Weight

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|c)|[\x00-\x08\x0b-\x1f\x7f]")
_TRACES = re.compile(r"Sending NMI from CPU|NMI backtrace for cpu")
_GUESS = re.compile(r"^(\[[ .0-9]+\])? +\? ")  # what lay on the stack, perhaps from before
_WHERE = re.compile(r"NMI backtrace for cpu|RIP: 0010:")

# What a panic says where something before it is the reason.
_AFTERMATH = re.compile(
    r"Fatal exception|panic_on_|warned too often|[Oo]ops|Attempted to kill|Aiee, killing"
    r"|softlockup: hung tasks|hung_task: |RCU Stall|[Hh]ard LOCKUP|kasan\.fault"
)
_CUT, _END = "[ cut here ]", "[ end trace"
"""What stands around the report of a WARN or BUG."""

_REPORT = 40
"""Lines after the first of a report that may belong to it."""
_SECONDS = 2.0
"""How long the kernel takes to print a report, to the slowest console."""

_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_INIT = re.compile(r"^lab-init: (.*)", re.MULTILINE)


@dataclass(frozen=True)
class Death:
    """How a kernel died, in its own words.

    Attributes:
        cause: The line that names the cause, without its time stamp.
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

    Only a panic is a death: a warning or an oops that did not end in one is for the tests to
    judge. The report begins at the last trouble before the panic that led to it.

    Args:
        raw: What the console said.
        limit: How many lines of the report to keep.
    """
    every = lines(raw)
    end = next((i for i, line in enumerate(every) if _PANIC.search(line)), None)
    if end is None:
        return None
    begin = _cause(every[:end], _PANIC.search(every[end]))
    begin = end if begin is None else begin
    report = [line for line in every[begin:] if not _GUESS.search(line)]
    # NMI backtraces of other CPUs follow; of each, keep the line with RIP.
    traces = next((i for i, line in enumerate(report) if _TRACES.search(line)), len(report))
    report[traces:] = [line for line in report[traces:] if _WHERE.search(line)]
    if len(report) > limit:  # the cause and the end say more than the middle of a trace
        half = limit // 2
        report = [*report[:half], "...", *report[-half:]]
    return Death(trouble.text_of(every[begin]), tuple(report))


def init_failure(raw: bytes) -> str:
    """Return why the guest's init gave up, or an empty string if it did not."""
    found = _INIT.search("\n".join(lines(raw)))
    return found[1] if found else ""


def _cause(before: Sequence[str], panic: re.Match[str] | None) -> int | None:
    """Return where the last report before a panic begins that led to it; None if none did."""
    aftermath = bool(panic and _AFTERMATH.search(panic[1]))
    least = Weight.WARNING if aftermath else Weight.GRAVE
    found = [report for report in _reports(before) if report.weight >= least]
    if panic and "Fatal exception" in panic[1]:  # nothing but an oops ends so
        found = [report for report in found if report.weight is Weight.OOPS] or found
    return found[-1].begin if found else None


@dataclass
class _Report:
    """A report of the kernel: where it begins, its worst line, the last line and its time."""

    begin: int
    weight: Weight
    last: int
    seconds: float | None

    def goes_on(self, number: int, seconds: float | None) -> bool:
        if self.seconds is not None and seconds is not None:
            return 0 <= seconds - self.seconds <= _SECONDS
        return number - self.last <= _REPORT


def _reports(every: Sequence[str]) -> list[_Report]:
    """Return the reports of a console. A WARN or BUG stands between two marker lines."""
    found: list[_Report] = []
    current: _Report | None = None
    block = reported = False  # between these lines; after the first trouble there
    for number, line in enumerate(every):
        text, seconds = trouble.text_of(line), trouble.seconds_of(line)
        if _CUT in text:
            block, reported = True, False
        elif _END in text:
            current, block = None, False
        kind = trouble.kind_of(text)
        if kind is None or kind.weight is Weight.LIMIT:
            continue
        more = kind.follows or (block and reported)
        reported = block
        if current and more and current.goes_on(number, seconds):
            current.weight = max(current.weight, kind.weight)
            current.last = number
        else:
            current = _Report(number, kind.weight, number, seconds)
            found.append(current)
    return found
