# SPDX-License-Identifier: GPL-2.0-only
"""The command ``vmm``: scenarios of a real monitor, in the lab's guest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from conformance.errors import LabError, UsageError
from conformance.events.kinds import AgentError, Event, Output
from conformance.lab.check.prepare import LabRequest, contents, prepare
from conformance.lab.check.run import driver_error
from conformance.lab.guest.run import guest
from conformance.running.steps import Steps
from conformance.vmm import nested
from conformance.vmm.inside.scenarios import SCENARIOS, WORKING

MEMORY = 2048
"""MiB of the lab's machine: two QEMUs with guests, and their streams in a RAM disk."""

REGISTERS = 6
"""Registers of the function that the guest writes, of those it may."""

_PROGRAMS = "/run/kit/programs"
_EMULATED = "1234:5646"
"""What the emulated device shows as its ids."""


def vmm(request: LabRequest, chosen: Sequence[str], results: Path, out: TextIO) -> int:
    """Run scenarios, print and write what became of each, and return the exit code.

    Args:
        request: What is asked for.
        chosen: Names of scenarios; empty for all.
        results: The folder of this run, which exists; an absolute path.
        out: Where progress and verdict go.

    Raises:
        UsageError: There is no such scenario, or the function lacks what it needs.
        ConformanceError: The lab failed, or the kernel died.
        KpatchError: The driver does not build.
        OSError: The results cannot be written.
    """
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        raise UsageError(f"There is no scenario {unknown[0]}. There are: {', '.join(SCENARIOS)}.")

    if not request.machine.doorbells and (bad := [name for name in chosen if name in WORKING]):
        raise UsageError(f"{request.name} has no doorbells, which {bad[0]} needs. Omit it.")
    if not chosen:
        chosen = [name for name in SCENARIOS if request.machine.doorbells or name not in WORKING]

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    steps = Steps(say)
    machine = request.machine.model_copy(update={"memory": MEMORY})
    request = replace(request, machine=machine)
    prepared = prepare(request, results, steps)
    if prepared is None:
        raise LabError("Nothing was prepared.")
    image = prepared.lab.emulator
    programs = {
        "state": nested.provide(image, steps),
        "qemu-system-x86_64": image.root / "usr/bin/qemu-system-x86_64",
        **nested.firmware(image),
    }
    inside = replace(contents(request, prepared), programs=programs)
    argv = ["python3", "-m", "conformance.vmm.inside", "--programs", _PROGRAMS]
    argv += ["--ids", machine.virtual_function or _EMULATED]
    argv += [word for place in machine.scratch[:REGISTERS] for word in ("--register", place)]
    argv += [word for place in machine.doorbells[:1] for word in ("--doorbell", place)]
    argv += [word for name in chosen for word in ("--scenario", name)]
    say(f"QEMU {image.manifest['qemu']} migrates a guest with {request.name}:")
    rows: list[dict[str, Any]] = []
    with guest(prepared.lab, inside, results, steps, cold=request.options.cold) as running:
        running.order("script", argv=argv)
        for row in follow(running.events(request.options.quiet), results / "vmm.log"):
            rows.append(row)
            say(line_of(row))
    text = json.dumps({"versions": prepared.versions, "scenarios": rows}, indent=1)
    (results / "vmm.json").write_text(text + "\n", encoding="utf-8")
    wanted = len(chosen)
    if len(rows) != wanted:
        raise LabError(
            f"{len(rows)} of {wanted} scenarios ended. What was printed: {results / 'vmm.log'}."
        )
    failed = [row["id"] for row in rows if row["failure"]]
    say(f"{wanted - len(failed)} of {wanted} scenarios passed; written: {results / 'vmm.json'}")
    return int(bool(failed))


def line_of(row: dict[str, Any]) -> str:
    """Return a scenario's line.

    >>> line_of({"id": "live", "failure": "", "seconds": 4.0, "states": {}})
    'passed  live  4.0 s'
    """
    verdict = "FAILED" if row["failure"] else "passed"
    line = f"{verdict}  {row['id']}  {row['seconds']} s"
    line += "".join(f"\n        {who}: {' > '.join(set_)}" for who, set_ in row["states"].items())
    return line + (f"\n        {row['failure']}" if row["failure"] else "")


def follow(events: Iterable[Event], log: Path) -> Iterator[dict[str, Any]]:
    """Yield the scenarios that end, until the guest is done; other output goes to a log.

    Raises:
        DriverError: The driver could not be put in place or taken away.
        AgentError: The agent gave up for another reason.
    """
    with log.open("w", encoding="utf-8") as file:
        for event in events:
            match event:
                case Output(text) if text.startswith("{"):
                    yield json.loads(text)
                case Output(text):
                    file.write(text)
                case AgentError():
                    raise driver_error(event)
