# SPDX-License-Identifier: GPL-2.0-only
"""Prints the commands of a run without running them."""

from __future__ import annotations

from pathlib import Path

from conformance.lab.check.prepare import LabRequest, prepare
from conformance.lab.guest import bringup as session
from conformance.lab.machine.argv import RunFiles
from conformance.running.steps import Steps

_FOLDER = Path("/tmp/vfio-kit-dry-run")  # noqa: S108 - printed, not used


def commands(request: LabRequest, steps: Steps) -> None:
    """Print the commands of a run; to be called in a `programs.dry_run` block.

    What cannot be known before a step was done, such as the release of the kernel in an image
    that is not there, ends the list with a remark.

    Raises:
        ConformanceError: What is asked for does not exist.
        KpatchError: The driver cannot be rendered.
    """
    prepared = prepare(request, _FOLDER, steps)
    if prepared is None:
        steps.say("The rest depends on the results of these commands.")
        return
    session.dry(prepared.lab, RunFiles(_FOLDER, _FOLDER), steps, cold=request.options.cold)
