# SPDX-License-Identifier: GPL-2.0-only
"""Records the decoded VFIO calls of a test, so that a failure can show what was done.

Every handle reports here. There is one recorder per process because that is what a test has;
a child process sends its lines back with its answers.
"""

import errno
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

#: How many calls are kept; the first ones go first, the number of dropped calls is printed.
LIMIT: Final = 400


class _Recorder:
    def __init__(self) -> None:
        self.lines: deque[str | call] = deque(maxlen=LIMIT)
        self.count = 0


_recorder = _Recorder()


def start() -> None:
    """Forget what was recorded: a new test begins."""
    _recorder.lines.clear()
    _recorder.count = 0


def note(line: str) -> None:
    """Record one line as it is."""
    _recorder.lines.append(line)
    _recorder.count += 1


def lines() -> list[str]:
    """Return the calls since :func:`start`, oldest first."""
    lost = _recorder.count - len(_recorder.lines)
    return [*([f"({lost} earlier calls)"] if lost else []), *map(str, _recorder.lines)]


@contextmanager
def quiet() -> Iterator[None]:
    """Record nothing of a block that ends well: what it does is not part of the test."""
    before, count = _recorder.lines, _recorder.count
    _recorder.lines = deque(maxlen=LIMIT)
    try:
        yield
    except BaseException:
        before.extend(_recorder.lines)
        _recorder.lines = before
        raise
    _recorder.lines, _recorder.count = before, count


def errno_name(number: int | None) -> str:
    """Return the name of an errno, for example ``EBUSY``."""
    return errno.errorcode.get(number or 0, f"errno {number}")


class call:  # noqa: N801 - reads as a verb: with call("...") as done
    """Record a call with its outcome: ``with call("mmap BAR0 ...") as done: done.result = ...``.

    The line reads ``WHAT = RESULT`` (``ok`` if none is set), or the name of the errno of the
    :class:`OSError` that leaves the block.
    """

    __slots__ = ("result", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.result = "ok"

    def __str__(self) -> str:
        return f"{self.what} = {self.result}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            self.result = errno_name(error.errno)
        elif error is not None:
            self.result = type(error).__name__
        recorder = _recorder  # not by note(), and not in words yet: few lines are ever read
        recorder.lines.append(self)
        recorder.count += 1
