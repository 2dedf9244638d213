# SPDX-License-Identifier: GPL-2.0-only
"""Runs tests of a kernel's own, programs that report in TAP, on a function with a driver.

They are those of tools/testing/selftests/vfio: each takes the address of a function that is bound
to a VFIO driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.events.kinds import Agent, AgentError, Event, Output, Phase
from conformance.lab.check.prepare import LabRequest, contents, prepare
from conformance.lab.check.run import driver_error
from conformance.lab.guest.run import guest
from conformance.running.steps import Steps

_SHOWN = 20
"""Lines of the kernel's log that go with a failure."""

_SKIPPED = 4
"""KSFT_SKIP of kselftest.h: the program had nothing to test here."""

_PLAN = re.compile(r"^1\.\.(\d+)", re.M)
_RESULT = re.compile(r"^(not )?ok \d+ (?:- )?(\S+)[^\n#]*(?:# *(SKIP)\S* *([^\n]*))?", re.M)


@dataclass(frozen=True)
class Ran:
    """What came of a program.

    Attributes:
        name: Its name.
        status: Its exit status.
        passed: The names of its tests that passed.
        skipped: Of those that it did not run, with the reason.
        failed: What failed: names of tests, or what else was wrong.
        output: All that it printed.
    """

    name: str
    status: int
    passed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    output: str = ""


def read(name: str, status: int, output: str) -> Ran:
    r"""Judge a program by its exit status and by its output, which must agree.

    >>> read("a", 0, "TAP version 13\n1..2\nok 1 x\nok 2 y # SKIP no pages\n").skipped
    ('y: no pages',)
    >>> read("a", 0, "TAP version 13\n1..2\nok 1 x\n").failed
    ('a reported 1 of 2 tests',)
    """
    found = _RESULT.findall(output)
    plan = _PLAN.search(output)
    failed = [test for bad, test, skip, _ in found if bad and not skip]
    if plan and len(found) != int(plan[1]):
        failed.append(f"{name} reported {len(found)} of {plan[1]} tests")
    if status not in (0, _SKIPPED) and not failed:
        failed.append(f"{name} ended with status {status}")
    if status == 0 and not found:
        failed.append(f"{name} reported no test")
    return Ran(
        name,
        status,
        tuple(test for bad, test, skip, _ in found if not bad and not skip),
        tuple(f"{test}: {why.strip()}" for _, test, skip, why in found if skip),
        tuple(failed),
        output,
    )


def run(
    request: LabRequest, programs: Mapping[str, Path], results: Path, steps: Steps
) -> list[Ran]:
    """Run programs in the lab, on a function with the driver.

    Args:
        request: The lab and the driver.
        programs: The programs, by name.
        results: The folder for logs.
        steps: Reports progress to the user.

    Raises:
        DriverError: The driver could not be put in place or taken away, or the kernel reported a
            fault while a program ran.
        ConformanceError: The lab failed, or the kernel died.
        KpatchError: The driver does not build.
    """
    prepared = prepare(request, results, steps)
    if prepared is None:
        return []
    inside = replace(contents(request, prepared), programs=programs)
    with guest(prepared.lab, inside, results, steps, cold=request.options.cold) as running:
        running.order("programs", names=sorted(programs))
        return list(follow(running.events(request.options.quiet)))


def follow(events: Iterable[Event]) -> Iterator[Ran]:
    """Yield what came of each program, until the guest is done.

    Raises:
        DriverError: The driver could not be put in place or taken away, or upset the kernel.
        AgentError: The agent gave up for another reason.
    """
    name, said = "", ""
    for event in events:
        match event:
            case AgentError():
                raise driver_error(event, klog=event.klog[-_SHOWN:])
            case Agent(Phase.PROGRAM, detail):
                name, said = detail, ""
            case Output():
                said += event.text
            case Agent(Phase.PROGRAM_ENDED, detail):
                yield read(name, int(detail), said)
