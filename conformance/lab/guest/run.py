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
    with guests(lab, contents, logs, steps, 1, cold=cold) as coming:
        yield next(coming)


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
                kit = _stage(lab, logs)
                first = stack.enter_context(run_folder(logs))
                modules = _modules(lab, contents, first.folder)

            def bring_up(files: RunFiles, steps: Steps, *, cold: bool) -> Guest:
                running = stack.enter_context(ready_guest(lab, files, steps, kit=kit, cold=cold))
                with steps.step("payload"):
                    write(contents, files, modules)
                return running

            yield bring_up(first, steps, cold=cold)
            for number in range(2, count + 1):
                folder = guest_logs(logs, number)
                folder.mkdir(exist_ok=True)
                with steps.step(f"guest {number}"):
                    files = stack.enter_context(run_folder(folder))
                    own = Steps(functools.partial(_say, steps, number))
                    running = bring_up(files, own, cold=False)
                yield running

        yield coming()


def _say(steps: Steps, number: int, line: str) -> None:
    steps.say(f"Guest {number}: {line}")


def guest_logs(logs: Path, number: int) -> Path:
    """Return the folder for the logs of one of several guests; that of the run for the first."""
    return logs if number == 1 else logs / f"guest-{number}"


def write(contents: Contents, files: RunFiles, modules: Path | None) -> None:
    """Write the payload disk of a run, for a guest that has the kit.

    Args:
        contents: What the guest gets.
        files: The files of the run.
        modules: What `payload.stage_modules` has made.

    Raises:
        PayloadError: It is too large.
    """
    payload.write(
        files.payload,
        contents.job,
        None,
        modules,
        programs=contents.programs,
        plan=contents.plan,
    )


def _stage(lab: Lab, logs: Path) -> Path:
    """Return the folder with the guest's part of the kit."""
    folder = paths.cache() / "stage" / lab.image.folder.name
    folder.mkdir(parents=True, exist_ok=True)
    return payload.stage_kit(paths.KIT, lab.image.sandbox, folder, logs / "stage.log")


def _modules(lab: Lab, contents: Contents, folder: Path) -> Path | None:
    """Return a folder with the module under test and what it depends on; None without one.

    Raises:
        KernelError: The kernel lacks a module that it depends on.
    """
    if not contents.under_test:
        return None
    return payload.stage_modules(
        contents.under_test, lab.kernel, lab.image.sandbox, folder, contents.also
    )
