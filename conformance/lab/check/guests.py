# SPDX-License-Identifier: GPL-2.0-only
"""How many guests a run is spread over."""

from __future__ import annotations

import os
import re
from pathlib import Path

from conformance.errors import UsageError
from conformance.lab.check.prepare import Options, Prepared
from conformance.lab.strangers import definition as strangers
from conformance.running.history import History

_WORTH = 8.0
"""Seconds of tests, as their own clocks add up, that are worth another guest."""

_MOST = 8
"""Guests at most, however many processors there are: each takes seconds to begin and to end."""

_SPARE = 1.5
"""Memory that is to be free for each guest, in sizes of its own: QEMU's translations take some."""

_WHOLE = {
    "DEBUG_KMEMLEAK": "looks for lost memory after all tests",
    "GCOV_KERNEL": "counts the lines that all tests execute",
}
"""Options of a kernel that keeps books over a whole run, with what it does."""

_EXIT_FIRST = re.compile(r"-x|--exitfirst|--maxfail(=.*)?")


def number(options: Options, prepared: Prepared, history: History) -> int:
    """Return how many guests judge a driver together.

    Args:
        options: What the user asks for; 0 guests for as many as pay off.
        prepared: What is run.
        history: How long the tests take.

    Raises:
        UsageError: More were asked for than can work together.
    """
    if options.guests == 1:
        return 1
    if reason := _alone(options, prepared):
        if options.guests > 1:
            raise UsageError(f"One guest runs all tests here, so --guests 1: {reason}.")
        return 1
    if options.guests:
        return options.guests
    room = _memory() // (prepared.lab.machine.memory << 20)
    fitting = [_MOST, len(os.sched_getaffinity(0)), room]
    if (seconds := history.expected(options.tests)) is not None:
        fitting.append(int(seconds / _WORTH))
    return max(1, min(fitting))


def _alone(options: Options, prepared: Prepared) -> str:
    """Say why guests cannot share the tests; empty if they can."""
    if any(_EXIT_FIRST.fullmatch(word) for word in options.pytest_args):
        return "the first failure is to end the run"
    if options.stranger and strangers.load(options.stranger).fatal:
        return "the driver is known to kill the kernel, after all other tests"
    config = prepared.lab.kernel.tree.config
    return next((f"the kernel {does}" for name, does in _WHOLE.items() if name in config), "")


def _memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes that guests may take."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    return int((int(found[1]) << 10) / _SPARE) if found else 0
