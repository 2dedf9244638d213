# SPDX-License-Identifier: GPL-2.0-only
"""Runs tests in parallel, each worker on its own pair of functions.

A run mostly waits for function-level resets, 100 ms each by the PCI specification, so workers
pay off even on few CPUs. They are forked after collection and write to the same file of events,
one at a time.
"""

import fcntl
import functools
import mmap
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import IO, Final

import pytest

Pair = tuple[str, str | None]
"""PCI addresses of a device and of its peer."""

Items = Sequence[pytest.Item]

_FEWEST: Final = 20  # tests per worker; starting one costs about as much as ten tests


class Turn:
    """A lock between forked processes. Raises :class:`OSError`."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as we are

    def __enter__(self) -> None:
        """Take the lock. It belongs to a process and ends with it."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)


class Hands:
    """What is left of the tests that were dealt, in memory that the workers share.

    What tests take is known from earlier runs and not exactly; the last worker would keep a machine
    half idle. So one whose hand is empty takes over from the end of the longest hand.
    """

    def __init__(self, dealt: Sequence[Items]) -> None:
        self._dealt = dealt
        self._turn = Turn()
        self._ends = memoryview(mmap.mmap(-1, 8 * len(dealt))).cast("I")
        for hand, items in enumerate(dealt):
            self._ends[2 * hand + 1] = len(items)

    def _left(self, hand: int) -> int:
        return self._ends[2 * hand + 1] - self._ends[2 * hand]

    def take(self, own: int) -> pytest.Item | None:
        """Return the next test for the worker of a hand; None if none is left."""
        with self._turn:
            hand = own if self._left(own) else max(range(len(self._dealt)), key=self._left)
            if not self._left(hand):
                return None
            if hand == own:
                index = self._ends[2 * hand]
                self._ends[2 * hand] += 1
            else:
                index = self._ends[2 * hand + 1] = self._ends[2 * hand + 1] - 1
            return self._dealt[hand][index]


def count(pairs: Sequence[Pair], tests: int) -> int:
    """Return the number of workers that pay off."""
    return max(1, min(len(pairs), tests // _FEWEST))


def run(
    session: pytest.Session,
    pairs: Sequence[Pair],
    dealt: Sequence[Items],
    begin: Callable[[Pair], None],
) -> None:
    """Run the tests that were dealt to the workers; then those of them that run alone.

    Args:
        session: The session after collection.
        pairs: The functions of each worker.
        dealt: The tests of each worker; some of them another one takes over in the end.
        begin: Called in each worker with its pair.

    Raises:
        RuntimeError: A worker died.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    stop = mmap.mmap(-1, 1)  # with --exitfirst a failure in one worker ends all
    ours = {item for items in dealt for item in items}
    alone = [item for item in session.items if item in ours and runs_alone(item)]
    others = [[item for item in items if not runs_alone(item)] for items in dealt]
    for at_a_time in (others, [alone]):
        if stop[0]:
            break
        hands = Hands(at_a_time)
        children = [
            _start(session, pair, functools.partial(hands.take, own), begin, stop)
            for own, (pair, items) in enumerate(zip(pairs, at_a_time, strict=False))
            if items
        ]
        # All of them: one that were left behind would keep its functions from being unbound.
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if dead := [status for status in ends if status not in (0, 1)]:
            raise RuntimeError(f"{len(dead)} of {len(children)} workers died: {_words(dead[0])}")
        session.testsfailed += sum(ends)


def _words(status: int) -> str:
    """Say how a worker died."""
    if status != -signal.SIGKILL:
        return f"status {status}"
    return "killed; the log of the kernel says whether it was short of memory"


def runs_alone(item: pytest.Item) -> bool:
    """Whether a test runs after all others, when no other of its session does."""
    return item.get_closest_marker("alone") is not None


def _start(
    session: pytest.Session,
    pair: Pair,
    take: Callable[[], pytest.Item | None],
    begin: Callable[[Pair], None],
    stop: mmap.mmap,
) -> int:
    child = os.fork()
    if child:
        return child
    status = 2
    try:
        begin(pair)
        _work(session, take, stop)
        status = int(session.testsfailed > 0)
    except BaseException:  # nobody above could report it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _work(session: pytest.Session, take: Callable[[], pytest.Item | None], stop: mmap.mmap) -> None:
    """Run tests as pytest's own loop does; print the summary that it would print."""
    item = take()
    while item:
        following = take()  # pytest keeps what the next test needs, too
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldstop or session.shouldfail:
            stop[0] = 1
        if stop[0]:
            break
        item = following
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and session.testsfailed:
        terminal.ensure_newline()
        terminal.summary_errors()
        terminal.summary_failures()
