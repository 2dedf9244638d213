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
from conformance.lab.check.prepare import LabRequest, Prepared, contents, prepare
from conformance.lab.check.run import driver_error
from conformance.lab.guest.run import guest
from conformance.running import driver
from conformance.running.steps import Steps
from conformance.vmm import aware, nested
from conformance.vmm.inside.scenarios import (
    AWARE,
    PACKETS,
    RENDERED,
    SCENARIOS,
    UNAWARE,
    WORKING,
)
from kpatch.series import qemu as qemu_series

MEMORY = 2048
"""MiB of the lab's machine: two QEMUs with guests, and their streams in a RAM disk."""

REGISTERS = 8
"""As many registers of the function the guest writes at most, of those it may."""

WIDE = 15
"""Bits that such a register has at least: others could be equal by chance."""

_PROGRAMS = "/run/kit/programs"
_SINCE = 8
"""The first QEMU that speaks version 2, and no other."""

_ADDED = 4
"""Bytes that the stream of the other version of a driver has in addition."""


def vmm(
    request: LabRequest, chosen: Sequence[str], results: Path, out: TextIO, source: Path | None
) -> int:
    """Run scenarios, print and write what became of each, and return the exit code.

    Args:
        request: What is asked for.
        chosen: Names of scenarios; empty for all.
        results: The folder of this run, which exists; an absolute path.
        out: Where progress and verdict go.
        source: The source of a QEMU that is to be built and run, aware of the saving layout;
            without it the image's.

    Raises:
        UsageError: There is no such scenario, or the function lacks what it needs.
        ConformanceError: The lab failed, or the kernel died.
        KpatchError: The driver does not build.
        OSError: The results cannot be written.
    """
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        raise UsageError(f"There is no scenario {unknown[0]}. There are: {', '.join(SCENARIOS)}.")

    cannot = impossible(request, knows=bool(source))
    if bad := [name for name in chosen if name in cannot]:
        raise UsageError(f"{bad[0]} cannot be run: {cannot[bad[0]]}. Omit it.")
    chosen = chosen or [name for name in SCENARIOS if name not in cannot]

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    protocol = request.options.protocol or "v2"
    steps = Steps(say)
    machine = request.machine.model_copy(update={"memory": MEMORY})
    request = replace(request, machine=machine)
    prepared = prepare(request, results, steps)
    if prepared is None:
        raise LabError("Nothing was prepared.")
    lab = prepared.lab
    image = lab.image if lab.image.manifest["qemu"] else lab.emulator
    qemu = str(image.manifest["qemu"])
    if speaks(qemu) != protocol:
        raise UsageError(f"QEMU {qemu} of {image.definition.name} does not speak {protocol}.")
    built = aware.provide(source, steps) if source else None
    programs: dict[str, Path] = {
        "state": nested.provide(image, steps, built),
        "qemu-system-x86_64": built or image.root / "usr/bin/qemu-system-x86_64",
        **nested.firmware(image),
    }
    if "driver.other" in chosen:
        programs |= _versions(request, prepared, results, steps)
    inside = replace(contents(request, prepared), programs=programs)
    argv = ["python3", "-m", "conformance.vmm.inside", "--programs", _PROGRAMS]
    argv += ["--ids", _ids(request), "--protocol", protocol]
    argv += ["--aware"] if built else []
    argv += [word for place in _registers(request) for word in ("--register", place)]
    argv += [word for place in machine.doorbells[:1] for word in ("--doorbell", place)]
    argv += [f"--parameter={one}" for one in machine.parameters]
    argv += [word for name in chosen for word in ("--scenario", name)]
    name = qemu_series.version(source) + ", aware of the saving layout," if source else qemu
    say(f"QEMU {name} migrates a guest with {request.name}:")
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


def speaks(version: str) -> str:
    """Return the version of the migration protocol that a QEMU speaks.

    >>> speaks("1:7.2+dfsg-7+deb12u18"), speaks("1:10.0.13+ds-0+deb13u1")
    ('v1', 'v2')
    """
    major = int(version.rpartition(":")[2].partition(".")[0])
    return "v2" if major >= _SINCE else "v1"


def impossible(request: LabRequest, *, knows: bool) -> dict[str, str]:
    """Return the scenarios that cannot be run with a function and a QEMU, and why."""
    found = dict.fromkeys(
        UNAWARE if knows else AWARE,
        "this QEMU knows the saving layout" if knows else "it takes --aware",
    )
    if not request.machine.doorbells:
        found |= dict.fromkeys(WORKING, f"{request.name} has no doorbells")
    if not request.machine.polled:
        found |= dict.fromkeys(PACKETS, f"the guest has no driver for {request.name}")
    if request.options.module:
        found |= dict.fromkeys(RENDERED, "of a module there is no other version")
    return found


def _registers(request: LabRequest) -> list[str]:
    """Return what the guest writes and compares: of all parts, but not what its driver uses."""

    def wide(place: str) -> bool:
        return int(place.rpartition(":")[2], 0).bit_count() >= WIDE

    left = [place for place in request.machine.left_by_driver() if wide(place)]
    return left[:: max(1, -(-len(left) // REGISTERS))]


def _ids(request: LabRequest) -> str:
    """Return vendor and device of what the guest is given."""
    if request.machine.virtual_function:
        return request.machine.virtual_function
    assert request.device
    first = request.device.ids[0]
    return f"{first.vendor:04x}:{first.device:04x}"


def _versions(
    request: LabRequest, prepared: Prepared, results: Path, steps: Steps
) -> dict[str, Path]:
    """Build another version of the driver, whose stream is longer; return both."""
    device, kernel = request.device, prepared.lab.kernel
    assert device
    assert prepared.module
    migration = device.migration
    longer = migration.model_copy(update={"padding": migration.padding + _ADDED})
    other = driver.build(
        device.model_copy(update={"migration": longer}),
        kernel.tree,
        f"{kernel.key}-other",
        results,
        steps,
        protocols=request.protocols,
    )
    return {"driver.ko": prepared.module.path, "other.ko": other}


def line_of(row: dict[str, Any]) -> str:
    """Return a scenario's line.

    >>> line_of({"id": "live", "failure": "", "seconds": 4.0, "states": {}, "packets": {}})
    'passed  live  4.0 s'
    """
    verdict = "FAILED" if row["failure"] else "passed"
    line = f"{verdict}  {row['id']}  {row['seconds']} s"
    line += "".join(f"\n        {who}: {' > '.join(set_)}" for who, set_ in row["states"].items())
    line += "".join(f"\n        packets {way}: {count}" for way, count in row["packets"].items())
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
