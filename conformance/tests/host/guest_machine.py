# SPDX-License-Identifier: GPL-2.0-only
"""Runs a command in a virtual machine that has the whole kit, as a test machine would."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from conformance import errors
from conformance.events.kinds import Agent, AgentError, Output, Phase
from conformance.lab.check.prepare import Options, look_up, prepare
from conformance.lab.guest import payload
from conformance.lab.guest.bringup import ready_guest
from conformance.lab.guest.payload import Job
from conformance.lab.guest.qemu import run_folder
from conformance.running import paths
from conformance.running.steps import Steps

IMAGE = "testhost"

_NOTHING = Job(module="", parameters=[], hints=[], tests=[], pytest_args=[], quiet=60)
"""The command is all that the agent is shown."""

_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", ".*", "results", "*.egg-info", "report_data", "lab_console"
)


def run(argv: Sequence[str], folder: Path, say: Callable[[str], None], *, quiet: float) -> int:
    """Run a command in the guest and return its status.

    Args:
        argv: The command, run in the checkout by root.
        folder: Takes what the run leaves.
        say: Takes what it prints, line by line.
        quiet: Seconds without a line after which the guest counts as hung.

    Raises:
        ConformanceError: The lab failed, or the guest is lost.
    """
    request = look_up(Options(image=IMAGE, bare=True, quiet=quiet))
    steps = Steps(say)
    prepared = prepare(request, folder, steps)
    assert prepared
    kit = folder / "kit"
    for name in ("conformance", "kpatch", "vm-images"):
        shutil.copytree(paths.KIT / name, kit / name, ignore=_LEFT_OUT, symlinks=True)
    for name in ("Makefile", "pyproject.toml", "README.md"):
        shutil.copy2(paths.KIT / name, kit / name)
    status = ""
    with run_folder(folder) as files:
        payload.write(files.payload, _NOTHING, kit, None)
        with ready_guest(prepared.lab, files, steps) as guest:
            guest.order("script", argv=list(argv))
            for event in guest.events(quiet):
                match event:
                    case Output(text):
                        say(text.rstrip("\n"))
                    case AgentError(phase, message):
                        raise errors.AgentError(f"{phase}: {message}")
                    case Agent(Phase.SCRIPT_ENDED, detail):
                        status = detail
    return int(status)
