# SPDX-License-Identifier: GPL-2.0-only
"""Runs tests beside each other, each worker with a pair of functions of its own.

Most of the time of a run is spent waiting for function-level resets, 100 ms each by the PCI
specification, so it pays even where processors are few. The tests have been collected when the
workers part, which then write to the same events, one at a time.
"""

import fcntl
import mmap
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import IO, Final

import pytest

Pair = tuple[str, str | None]
"""The addresses of a device and of its peer."""

_FEWEST: Final = 20  # tests; a worker of its own costs about as much as ten of them


class Turn:
    """Lets one of several processes do something at a time. Raises :class:`OSError`."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as we are

    def __enter__(self) -> None:
        """Wait for the turn. Such a lock belongs to a process and ends with it."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)


def count(pairs: Sequence[Pair], tests: int) -> int:
    """Return how many workers are worth their cost."""
    return max(1, min(len(pairs), tests // _FEWEST))


def run(session: pytest.Session, pairs: Sequence[Pair], begin: Callable[[Pair], None]) -> None:
    """Run the session's tests, the n-th one by the n-th worker in turn.

    Args:
        session: The session after collection.
        pairs: The functions of each worker.
        begin: Called in each worker, to take its functions.

    Raises:
        RuntimeError: A worker did not come to its end.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    stop = mmap.mmap(-1, 1)  # one of them, told to end with its first failure, ends all
    children = [_start(session, pairs, index, begin, stop) for index in range(len(pairs))]
    for child in children:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status not in (0, 1):
            raise RuntimeError(f"one of {len(pairs)} workers ended with status {status}")
        session.testsfailed += status


def _start(
    session: pytest.Session,
    pairs: Sequence[Pair],
    index: int,
    begin: Callable[[Pair], None],
    stop: mmap.mmap,
) -> int:
    child = os.fork()
    if child:
        return child
    status = 2
    try:
        begin(pairs[index])
        _work(session, session.items[index :: len(pairs)], stop)
        status = int(session.testsfailed > 0)
    except BaseException:  # there is nobody above who could say it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _work(session: pytest.Session, items: Sequence[pytest.Item], stop: mmap.mmap) -> None:
    """Run tests as pytest's own loop does, and show what it would show at the end."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldstop or session.shouldfail:
            stop[0] = 1
        if stop[0]:
            break
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and session.testsfailed:
        terminal.ensure_newline()
        terminal.summary_errors()
        terminal.summary_failures()
