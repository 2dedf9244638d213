# SPDX-License-Identifier: GPL-2.0-only
"""Judges builds of a module in parallel guests; after each fault in a fresh one.

Each guest has a process of its own, since a guest under TCG keeps one processor busy, and since
whoever starts a program must live as long. Those processes never outlive this one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any

from conformance.errors import ConformanceError, LabError, QemuError
from conformance.lab.guest.payload import Trial
from conformance.proof.judging import trials
from conformance.proof.judging.trials import Bench, Outcome
from kpatch.errors import KpatchError
from kpatch.tools.processes import die_with

AGAIN = 2
"""Times that a trial is tried again if QEMU breaks during it."""

MOST = 16
"""Trials in one guest: a guest's memory holds them all."""

_GRACE = 10.0
"""Seconds in which a process that is asked to ends its guest and removes its files."""

_FORK = multiprocessing.get_context("fork")

Done = Callable[[Outcome], None]


def run(bench: Bench, wanted: Sequence[Trial], done: Done, parallel: int = 1) -> None:
    """Judge modules. Ctrl-C ends all guests.

    Args:
        bench: Where.
        wanted: What; it is begun in this order.
        done: Told the outcome of each as soon as it is known.
        parallel: Number of parallel guests.

    Raises:
        ConformanceError: The lab failed.
    """
    left = list(wanted)
    running: dict[Connection, _Guest] = {}
    numbers = set(range(parallel))
    breaks = 0
    with _ended(running):
        while left or running:
            while left and len(running) < parallel:
                share = min(MOST, -(-len(left) // parallel))
                number = min(numbers - {one.number for one in running.values()})
                guest = _Guest(bench, left[:share], number)
                del left[:share]
                running[guest.pipe] = guest
            for pipe in connection.wait(list(running)):
                guest = next(one for one in running.values() if one.pipe is pipe)
                if not guest.receive(done):
                    continue
                del running[guest.pipe]
                breaks = breaks + 1 if guest.broke and not guest.outcomes else 0
                if guest.broke and breaks > AGAIN:
                    raise QemuError(guest.broke)
                left[:0] = guest.left


@contextlib.contextmanager
def _ended(running: dict[Connection, _Guest]) -> Iterator[None]:
    """End with the block all guests that still run."""
    try:
        yield
    finally:
        for guest in running.values():
            guest.process.terminate()
        for guest in running.values():
            guest.process.join(_GRACE)
            guest.process.kill()
            guest.process.join()


class _Guest:
    """A process that judges some modules in a guest.

    Attributes:
        number: Number of the guest among the parallel ones.
        left: What it has not judged yet.
        pipe: Readable when there is something to `receive`.
        process: The process.
        outcomes: How many modules it has judged.
        broke: What QEMU said when it broke, if it did.
    """

    def __init__(self, bench: Bench, batch: Sequence[Trial], number: int) -> None:
        self.number = number
        self.left = list(batch)
        self.outcomes = 0
        self.broke = ""
        logs = bench.logs / f"guest-{number}"
        logs.mkdir(parents=True, exist_ok=True)
        self.pipe, end = _FORK.Pipe(duplex=False)
        arguments = (replace(bench, logs=logs), self.left, end, os.getpid())
        self.process: ForkProcess = _FORK.Process(target=_judge, args=arguments)
        self.process.start()
        end.close()

    def receive(self, done: Done) -> bool:
        """Take what it says, and return whether it has come to its end.

        Raises:
            LabError: The lab failed in it.
        """
        try:
            kind, what = self.pipe.recv()
        except EOFError:
            kind, what = "error", "The process of a guest died; its output is above."
        if kind == "outcome":
            self.left.pop(0)
            self.outcomes += 1
            done(Outcome.from_json(what))
            return False
        self.process.join()
        self.pipe.close()
        if kind == "error":
            raise LabError(what)
        if kind == "broke":
            self.broke = what
        elif not self.outcomes:
            raise LabError(f"The guest did not begin with {self.left[0].name}.")
        return True


def _judge(bench: Bench, batch: Sequence[Trial], pipe: Connection, parent: int) -> None:
    """Be the process of a guest: send outcomes, then how it ended."""
    # Ctrl-C reaches all processes of a terminal. The one that has the pipe decides.
    signal.signal(signal.SIGINT, lambda _signal, _frame: None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    die_with(parent)()

    def send(kind: str, what: Any) -> None:
        pipe.send((kind, what))

    try:
        trials.one_guest(bench, batch, lambda outcome: send("outcome", outcome.as_json()))
        send("end", "")
    except QemuError as error:
        # An emulator that breaks says nothing of the driver; nor does it prove that it is bad.
        send("broke", str(error))
    except (ConformanceError, KpatchError, OSError) as error:
        send("error", f"{error}\nThe logs are in {bench.logs}.")
    except KeyboardInterrupt:
        pass
