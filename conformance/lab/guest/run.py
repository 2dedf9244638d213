# SPDX-License-Identifier: GPL-2.0-only
"""Runs a guest with something in it: the payload, and the machine that reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    """

    job: Job
    under_test: Sequence[ModuleInfo] = ()
    also: Sequence[str] = ()
    programs: Mapping[str, Path] = field(default_factory=dict)


@contextlib.contextmanager
def guest(
    lab: Lab, contents: Contents, logs: Path, steps: Steps, *, cold: bool = False
) -> Iterator[Guest]:
    """Run a guest that has come up and waits for its order; it ends with the block.

    Args:
        lab: What to run.
        contents: What the guest gets.
        logs: The folder for logs, which stay.
        steps: Tells the user what is done.
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
    payload.write(files.payload, contents.job, kit, tree, programs=contents.programs)
