# SPDX-License-Identifier: GPL-2.0-only
"""Failures on demand: makes the n-th allocation of one call fail.

The kernel counts down ``/proc/thread-self/fail-nth`` at every point of this thread where a failure
can be injected, and fails the one at which it gets to 0. Which kinds of points count is set up
in debugfs. Needs root and a kernel with FAULT_INJECTION, as debug kernels have it.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import Any, Final

DEBUG: Final = Path("/sys/kernel/debug")
FAIL_NTH: Final = Path("/proc/thread-self/fail-nth")

#: What can fail, and the kernel's names of the points.
ALLOCATION: Final = "an allocation"
USER_COPY: Final = "a copy from or to user space"
_POINTS: Final = {ALLOCATION: ("failslab", "fail_page_alloc"), USER_COPY: ("fail_usercopy",)}
_EVERY: Final = tuple(name for names in _POINTS.values() for name in names)

#: No address lies in it: points with this filter never count.
_NOWHERE: Final = (1, 1)
#: Without messages, and at allocations that may sleep or are for user space too.
_EVERYTHING: Final = {
    "verbose": "0",
    "ignore-gfp-wait": "N",
    "ignore-gfp-highmem": "N",
    "min-order": "0",
}


@dataclass(frozen=True)
class Attempt:
    """A call during which the ``number``-th point was to fail.

    Attributes:
        number: counts from 1.
        hit: whether the call came to that point; if not, it ran undisturbed.
        errno: how the call failed, or 0.
        result: what it returned if it did not fail.
    """

    number: int
    hit: bool
    errno: int
    result: Any


def missing(directory: Path = DEBUG) -> str:
    """Say why failures cannot be injected here, or return nothing if they can."""
    if not FAIL_NTH.exists():
        return f"no {FAIL_NTH}: this kernel is built without FAULT_INJECTION"
    for name in _EVERY:
        if not (directory / name).is_dir():
            return f"no {directory / name}: debugfs is not mounted, or the kernel lacks it"
        if not (directory / name / "require-start").exists():
            return "this kernel is built without FAULT_INJECTION_STACKTRACE_FILTER"
    return ""


@contextmanager
def points(
    kind: str,
    *,
    within: tuple[int, int] | None = None,
    depth: int = 32,
    directory: Path = DEBUG,
) -> Iterator[None]:
    """Within the block, let only points of one kind count: ALLOCATION or USER_COPY.

    ``within`` is a range of kernel addresses, one of which must be among the ``depth``
    innermost callers; 32 is the most the kernel looks at.
    """
    before: dict[Path, str] = {}
    try:
        for name in _EVERY:
            wanted = dict(_EVERYTHING)
            where = within if name in _POINTS[kind] else _NOWHERE
            if where:
                wanted |= {"require-start": f"{where[0]:#x}", "require-end": f"{where[1]:#x}"}
                wanted["stacktrace-depth"] = str(depth)
            for file, value in wanted.items():
                path = directory / name / file
                if path.exists():
                    before[path] = path.read_text()
                    path.write_text(value)
        yield
    finally:
        for path, value in before.items():
            path.write_text(value)


def module_text(name: str) -> tuple[int, int]:
    """Return the addresses of a module's code, and what may follow it; needs root.

    Raises :class:`OSError` if there is no such module.
    """
    for line in Path("/proc/modules").read_text().splitlines():
        words = line.split()
        if words[0] == name:
            start = int(words[5], 16)
            return start, start + int(words[1])
    raise FileNotFoundError(ENOENT, f"no module {name} is loaded")


def attempts(call: Callable[[], Any], *, step: int = 1, most: int = 5000) -> Iterator[Attempt]:
    """Make the call again and again, with its 1st, 2nd, ... point failing, until none is hit.

    ``step`` leaves points out of a call with very many. What a call that succeeded has left
    behind must be undone between two. Raises :class:`RuntimeError` if there is no end up to
    the point ``most``.
    """
    for number in range(1, most + 1, step):
        attempt = _attempt(call, number)
        yield attempt
        if not attempt.hit:
            return
    raise RuntimeError(f"the call still meets new points to fail at after {most}")


def _attempt(call: Callable[[], Any], number: int) -> Attempt:
    # Python's own garbage collection may call the kernel at any moment.
    collecting = gc.isenabled()
    gc.disable()
    fd = os.open(FAIL_NTH, os.O_RDWR | os.O_CLOEXEC)
    order = b"%d\n" % number
    errno, result = 0, None
    try:
        os.pwrite(fd, order, 0)
        try:
            result = call()
        except OSError as error:
            errno = error.errno or 0
        hit = _left(fd) == 0
    finally:
        os.pwrite(fd, b"0\n", 0)
        os.close(fd)
        if collecting:
            gc.enable()
    return Attempt(number, hit, errno, result)


def _left(fd: int) -> int:
    try:
        return int(os.pread(fd, 16, 0))
    except OSError:
        return 1  # this read was the point: so the call had come to its end
