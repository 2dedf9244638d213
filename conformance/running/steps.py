# SPDX-License-Identifier: GPL-2.0-only
"""Prints the steps of a run and measures their time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_TICK = 0.5
"""Seconds between two looks at a log."""

_PROGRESS = 30.0
"""Seconds between two words about how far a build is."""


class Steps:
    """The steps of a run.

    Args:
        say: Takes lines for the user.
        clock: Monotonic seconds.

    Attributes:
        times: Seconds that each step took, in the order in which they ended.
    """

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.say = say
        self.times: dict[str, float] = {}
        self._clock = clock

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; steps of the same name add up."""
        begun = self._clock()
        try:
            yield
        finally:
            self.times[name] = self.times.get(name, 0) + self._clock() - begun

    @contextlib.contextmanager
    def follow(self, log: Path, prefix: str) -> Iterator[None]:
        """Within the block, print each new line of a log that begins with `prefix`."""
        stop = threading.Event()
        # Here, not in the thread: that may begin when the program has already written.
        begin = _size(log)
        thread = threading.Thread(target=self._watch, args=(log, prefix, begin, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _watch(self, log: Path, prefix: str, offset: int, stop: threading.Event) -> None:
        last = False
        while not last:
            last = stop.wait(_TICK)
            if not log.exists():
                continue
            with log.open("rb") as file:
                file.seek(offset)
                *lines, _rest = file.read().split(b"\n")
            for line in lines:
                offset += len(line) + 1
                text = line.decode("utf-8", errors="replace")
                if text.startswith(prefix):
                    self.say(f"  {text.removeprefix(prefix).strip()}")

    @contextlib.contextmanager
    def compiling(self, log: Path) -> Iterator[None]:
        """Within the block, say now and then how many files make has compiled, by its log."""
        begin = _size(log)
        stop = threading.Event()

        def watch() -> None:
            seconds = 0.0
            while not stop.wait(_PROGRESS):
                seconds += _PROGRESS
                done = 0
                with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
                    file.seek(begin)
                    done = sum(line.startswith((b"  CC ", b"  AS ")) for line in file)
                self.say(f"  {seconds:.0f} s: {done} files compiled")

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def summary(self) -> str:
        """Return one line with the time of each step, longest first; empty without any.

        >>> steps = Steps(print)
        >>> steps.times.update(build=2.5, tests=4.0, image=0.004)
        >>> steps.summary()
        'time: tests 4.0 s, build 2.5 s'
        """
        longest = sorted(self.times.items(), key=lambda item: -item[1])
        parts = [f"{name} {seconds:.1f} s" for name, seconds in longest if seconds >= 0.05]
        return f"time: {', '.join(parts)}" if parts else ""


def _size(log: Path) -> int:
    """Return the bytes of a log, 0 if there is none yet."""
    return log.stat().st_size if log.exists() else 0
