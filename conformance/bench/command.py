# SPDX-License-Identifier: GPL-2.0-only
"""The command ``bench``: what a driver costs, measured in the guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from conformance import errors
from conformance.bench import report as bench_report
from conformance.errors import LabError
from conformance.events.kinds import Agent, AgentError, Event, Output, Phase, Ratio
from conformance.lab.check.prepare import LabRequest, contents, prepare
from conformance.lab.guest.run import guest
from conformance.running.steps import Steps

_PLAIN = "vfio_pci"
"""The module of the driver that the other function is bound to."""

_LOG = "bench.log"


def bench(request: LabRequest, results: Path, out: TextIO) -> None:
    """Measure a driver, print the table and write it, and a plot, to the results.

    Args:
        request: What is asked for.
        results: The folder of this run, which exists; an absolute path.
        out: Where progress and table go.

    Raises:
        ConformanceError: The lab failed, or the kernel died.
        KpatchError: The driver does not build.
        OSError: The results cannot be written.
    """

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    steps = Steps(say)
    prepared = prepare(request, results, steps)
    if prepared is None:
        raise LabError("Nothing was prepared.")
    inside = contents(request, prepared, also=[_PLAIN])
    with guest(prepared.lab, inside, results, steps, cold=request.options.cold) as running:
        running.order("bench")
        say("Measuring, which takes a minute or two ...")
        rows: list[Ratio] = []
        for row in follow(running.events(request.options.quiet), results / _LOG):
            for line in bench_report.lines(row, rows[-1] if rows else None):
                say(line)
            rows.append(row)
    say("")
    for path in bench_report.write(results, rows, prepared.versions):
        say(f"written: {path}")


def follow(events: Iterable[Event], log: Path) -> Iterator[Ratio]:
    """Yield the rows that the guest measures, until it is done.

    Args:
        events: What the guest says.
        log: Takes what was printed in the guest.

    Raises:
        LabError: The guest could not measure, or not all.
    """
    status = "none"
    for event in events:
        match event:
            case Ratio():
                yield event
            case Output(text):
                log.write_text(text, encoding="utf-8")
            case AgentError(phase, message):
                raise errors.AgentError(f"The guest's agent gave up ({phase}): {message}")
            case Agent(Phase.MEASURED, detail):
                status = detail
    if status != "0":
        said = log.read_text("utf-8").splitlines()[-1:] if log.exists() else []
        raise errors.AgentError(
            f"Measuring ended with status {status}: {' '.join(said) or 'no output'}. "
            f"The full log is {log}."
        )
