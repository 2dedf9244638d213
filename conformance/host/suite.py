# SPDX-License-Identifier: GPL-2.0-only
"""Runs the suite in a process of its own, and passes on what it says."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import GuestHung
from conformance.events.stream import EventDecoder
from conformance.host.paths import HostPaths
from conformance.host.undo import MARK
from conformance.kernel.log import Taint
from conformance.kernel.trouble import OOPSED
from conformance.report import Reporter, Verdict
from conformance.running import paths
from conformance.running.follow import PYTEST_LOG, of_pytest
from kpatch.tools import programs
from kpatch.tools.programs import Running

_SHOWN = 25
"""Lines of a stack that are shown of a suite that hangs."""


@dataclass(frozen=True)
class Job:
    """What the suite is to do.

    Attributes:
        device: The device under test.
        peer: The second one; empty for none.
        options: Options of the suite, such as ``--vfio-scratch=0:8:0xff``.
        tests: Node ids of the tests; empty for all.
        pytest_args: What the user wants passed on.
        quiet: Seconds without a word after which it counts as hung.
        mark: What its processes have in their environment.
    """

    device: str
    peer: str
    options: Sequence[str]
    tests: Sequence[str]
    pytest_args: Sequence[str]
    quiet: float
    mark: str

    def argv(self, events: Path) -> list[str]:
        """Return the command."""
        words = [sys.executable, "-m", "pytest", "-p", "conformance.plugin"]
        words += ["-p", "no:cacheprovider", *(self.tests or ["conformance/suite"])]
        words += ["--vfio-device", self.device, "--vfio-events", str(events)]
        words += ["--vfio-peer", self.peer] if self.peer else []
        return [*words, *self.options, *self.pytest_args]


def run(job: Job, results: Path, reporter: Reporter, host: HostPaths) -> Verdict:
    """Run the suite to its end and say how it ended.

    Raises:
        GuestHung: It said nothing for too long; it has been ended, if the kernel let it go.
        ReportError: An event is damaged, or cannot be kept.
    """
    log = results / PYTEST_LOG
    taint = _taint()
    with tempfile.TemporaryDirectory(prefix="vfio-kit-") as folder:
        events = Path(folder, "events")
        os.mkfifo(events, 0o600)
        env = {MARK: job.mark, "PYTHONDONTWRITEBYTECODE": "1"}
        with (
            _reader(events) as fifo,
            programs.start(job.argv(events), cwd=paths.KIT, env=env, log=log) as process,
        ):
            _follow(fifo, process, job, reporter, host)
            status = process.wait(job.quiet)
    if _taint() & ~taint & OOPSED:
        return Verdict.kernel_died("the kernel oopsed while the suite ran; restart this machine")
    if status is None or status < 0:
        how = "does not end" if status is None else f"was killed by {signal.Signals(-status).name}"
        return Verdict.lab_failed(f"the suite {how}", f"its output is in {log}")
    return of_pytest(status, results, reporter)


@contextlib.contextmanager
def _reader(fifo: Path) -> Iterator[int]:
    # Also opened for writing, so that it has no end while the suite comes and goes.
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _follow(fifo: int, process: Running, job: Job, reporter: Reporter, host: HostPaths) -> None:
    """Pass on events until the process ends."""
    decoder = EventDecoder()
    ended = os.pidfd_open(process.pid)
    try:
        while True:
            ready = select.select([fifo, ended], [], [], job.quiet)[0]
            if fifo in ready:
                for event in decoder.feed(os.read(fifo, 1 << 16)):
                    reporter.feed(event)
            elif ended in ready:
                break
            else:
                reason = f"No event came from the suite for {job.quiet:g} s."
                raise GuestHung(reason, _stacks(process.pid, host))
    finally:
        os.close(ended)
    decoder.close()


def _stacks(session: int, host: HostPaths) -> list[str]:
    """Return where the kernel is for the processes of a session, as far as we may know."""
    lines: list[str] = []
    for stack in sorted(host.proc.glob("[0-9]*/task/*/stack")):
        with contextlib.suppress(OSError, IndexError):
            fields = stack.with_name("stat").read_text().rpartition(")")[2].split()
            if fields[3] == str(session):
                name = stack.with_name("comm").read_text().strip()
                lines.append(f"{name} (process {stack.parent.name}), state {fields[0]}:")
                lines += [f"  {line}" for line in stack.read_text().splitlines()[:_SHOWN]]
    return lines


def _taint() -> int:
    with contextlib.closing(Taint()) as flags:
        return flags.read()
