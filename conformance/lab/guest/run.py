# SPDX-License-Identifier: GPL-2.0-only
"""Runs a guest with something in it: the payload, and the machine that reads it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.lab.guest import payload
from conformance.lab.guest.bringup import ready_guest
from conformance.lab.guest.guest import Guest
from conformance.lab.guest.payload import Job
from conformance.lab.guest.qemu import run_folder
from conformance.lab.machine.argv import RunFiles
from conformance.lab.machine.lab import Lab
from conformance.running import paths
from conformance.running.steps import Steps
from kpatch.module.info import ModuleInfo


@dataclass(frozen=True)
class Contents:
    """What the guest gets.

    Attributes:
        job: What it is to do.
        under_test: The module under test, and those of its own that it depends on.
        also: Modules of the kernel that the guest loads in addition to those that these need.
        programs: Programs to run, by name.
        plan: What is known of the tests beforehand, as the suite's ``--vfio-plan`` has it.
    """

    job: Job
    under_test: Sequence[ModuleInfo] = ()
    also: Sequence[str] = ()
    programs: Mapping[str, Path] = field(default_factory=dict)
    plan: Mapping[str, Any] | None = None


@contextlib.contextmanager
def guest(
    lab: Lab, contents: Contents, logs: Path, steps: Steps, *, cold: bool = False
) -> Iterator[Guest]:
    """Run a guest that has come up and waits for its order; it ends with the block.

    Args:
        lab: What to run.
        contents: What the guest gets.
        logs: The folder for logs, which stay.
        steps: Reports progress to the user.
        cold: Whether to boot even if there is a snapshot.

    Raises:
        GuestLost: The guest did not come up.
        LabError: The payload is too large, or QEMU or the guest's own programs failed.
        KpatchError: A program failed.
    """
    with run_folder(logs) as files:
        with steps.step("payload"):
            write(lab, contents, files)
        with ready_guest(lab, files, steps, cold=cold) as running:
            yield running


@contextlib.contextmanager
def guests(
    lab: Lab, contents: Contents, logs: Path, steps: Steps, count: int, *, cold: bool = False
) -> Iterator[Iterator[Guest]]:
    """Run guests with the same contents; all end with the block.

    Yields them as an iterator, which brings up one when it is asked for: the one before can work
    meanwhile. Those after the first come from its snapshot, and their logs are in folders of
    their own, ``guest-2`` and so on.

    Args:
        lab: What to run.
        contents: What the guests get.
        logs: The folder for logs, which stay.
        steps: Reports progress to the user.
        count: How many guests.
        cold: Whether the first boots even if there is a snapshot.

    Raises:
        GuestLost: A guest did not come up; also raised by the iterator.
        LabError: The same as for one guest.
        KpatchError: A program failed.
    """
    with contextlib.ExitStack() as stack:

        def coming() -> Iterator[Guest]:
            with steps.step("payload"):
                first = stack.enter_context(run_folder(logs))
                write(lab, contents, first)
            yield stack.enter_context(ready_guest(lab, first, steps, cold=cold))
            for number in range(2, count + 1):
                folder = guest_logs(logs, number)
                folder.mkdir(exist_ok=True)
                files = stack.enter_context(run_folder(folder))
                files.payload.hardlink_to(first.payload)  # a read-only disk
                with steps.step(f"guest {number}"):
                    own = Steps(functools.partial(_say, steps, number))
                    running = stack.enter_context(ready_guest(lab, files, own))
                yield running

        yield coming()


def _say(steps: Steps, number: int, line: str) -> None:
    steps.say(f"Guest {number}: {line}")


def guest_logs(logs: Path, number: int) -> Path:
    """Return the folder for the logs of one of several guests; that of the run for the first."""
    return logs if number == 1 else logs / f"guest-{number}"


def write(lab: Lab, contents: Contents, files: RunFiles) -> None:
    """Write the payload disk of a run.

    Raises:
        PayloadError: It is too large.
        KernelError: The kernel lacks a module that that under test depends on.
    """
    sandbox = lab.image.sandbox
    folder = paths.cache() / "stage" / lab.image.folder.name
    folder.mkdir(parents=True, exist_ok=True)
    kit = payload.stage_kit(paths.KIT, sandbox, folder, files.logs / "stage.log")
    tree = None
    if contents.under_test:
        tree = payload.stage_modules(
            contents.under_test, lab.kernel, sandbox, files.folder, contents.also
        )
    payload.write(
        files.payload,
        contents.job,
        kit,
        tree,
        programs=contents.programs,
        plan=contents.plan,
    )
