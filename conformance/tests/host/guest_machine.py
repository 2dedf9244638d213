# SPDX-License-Identifier: GPL-2.0-only
"""Runs a command in a virtual machine that has the whole kit, as a test machine would."""

from __future__ import annotations

import shutil
import subprocess
import sys
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

PYTHONS = {"testhost": "python3", "testhost-bookworm": "/run/kit/kit/.venv/bin/python"}
"""The images of test machines, and the Python that has the packages of the kit on each."""

_PACKAGES = ("jinja2", "junitparser", "pydantic", "pyelftools", "pytest")
"""What a test machine needs: docs/judging.md."""

ON_MACHINE = ["-m", "pytest", "--noconftest", "-v", "-s", "-p", "no:cacheprovider",
              "conformance/tests/host/on_machine.py"]  # fmt: skip
"""The tests for a machine that has functions; what the kit's other tests need is not there."""

_NOTHING = Job(module="", parameters=[], hints=[], tests=[], pytest_args=[], quiet=60)
"""The command is all that the agent is shown."""

_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", ".*", "results", "*.egg-info", "report_data", "lab_console"
)


def run(
    image: str, argv: Sequence[str], folder: Path, say: Callable[[str], None], *, quiet: float
) -> int:
    """Run a command in the guest and return its status.

    Args:
        image: What the guest boots, of `PYTHONS`.
        argv: The arguments for its Python, run in the checkout by root.
        folder: Takes what the run leaves.
        say: Takes what it prints, line by line.
        quiet: Seconds without a line after which the guest counts as hung.

    Raises:
        ConformanceError: The lab failed, or the guest is lost.
    """
    request = look_up(Options(image=image, bare=True, quiet=quiet))
    steps = Steps(say)
    prepared = prepare(request, folder, steps)
    assert prepared
    kit = folder / "kit"
    for name in ("conformance", "kpatch", "vm-images"):
        shutil.copytree(paths.KIT / name, kit / name, ignore=_LEFT_OUT, symlinks=True)
    for name in ("Makefile", "pyproject.toml", "README.md"):
        shutil.copy2(paths.KIT / name, kit / name)
    if ".venv" in PYTHONS[image]:
        _put_packages(kit / ".venv", str(prepared.lab.image.manifest["python"]))
    status = ""
    with run_folder(folder) as files:
        payload.write(files.payload, _NOTHING, kit, None)
        with ready_guest(prepared.lab, files, steps) as guest:
            guest.order("script", argv=[PYTHONS[image], *argv])
            for event in guest.events(quiet):
                match event:
                    case Output(text):
                        say(text.rstrip("\n"))
                    case AgentError(phase, message):
                        raise errors.AgentError(f"{phase}: {message}")
                    case Agent(Phase.SCRIPT_ENDED, detail):
                        status = detail
    return int(status)


def _put_packages(venv: Path, version: str) -> None:
    """Make a virtual environment as `host-setup.sh --no-lab` does, for the guest's Python.

    The guest has no network, so the packages are fetched here.
    """
    short = ".".join(version.split(".")[:2])
    packages = venv / f"lib/python{short}/site-packages"
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    argv += ["--only-binary=:all:", f"--python-version={short}", f"--target={packages}"]
    subprocess.run([*argv, *_PACKAGES], check=True)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to("/usr/bin/python3")
