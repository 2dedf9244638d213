# SPDX-License-Identifier: GPL-2.0-only
"""Loads the modules of a patched tree in the lab's virtual machine and has the suite judge them.

The lab is a program of its own, `python -m conformance check`: this package knows nothing of it but
its options, its exit codes and the file of results that it leaves.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.gate.results import Step
from kpatch.device import load as device
from kpatch.errors import ProgramFailed
from kpatch.kernel.tree import KernelTree
from kpatch.module import info as module
from kpatch.tools.programs import run

KERNEL_DIED = 3
LAB_FAILED = 4
COMMAND = (sys.executable, "-m", "conformance", "check")
_TIMEOUT = 3600
_REGION = re.compile(r"VFIO_REGION_TYPE_MIGRATION_DEPRECATED")


@dataclass(frozen=True)
class Subject:
    """A driver to be judged.

    Attributes:
        name: The module.
        path: Its file.
        device: The device that the lab has and the driver is for.
    """

    name: str
    path: Path
    device: str


def subject(modules: Mapping[str, Path], touched: Sequence[str], place: Path) -> Subject | None:
    """Return the driver which the patches so far make or change and a device of the kit has.

    None if there is none, or if it does not have the migration region yet: a pass-through driver
    has no protocol that could be kept.
    """
    for name, path in modules.items():
        folder = path.parent.relative_to(place)
        if not any(Path(one).parent == folder for one in touched):
            continue
        if not any(_REGION.search(one.read_text("latin-1")) for one in path.parent.glob("*.c")):
            continue
        aliases = module.read(path).aliases
        for known in device.names():
            ids = device.load(known).ids
            wanted = {f"vfio_pci:v{one.vendor:08X}d{one.device:08X}" for one in ids}
            if any(alias.startswith(tuple(wanted)) for alias in aliases):
                return Subject(name, path, known)
    return None


def stage(modules: Mapping[str, Path], target: Path, kernel: KernelTree, log: Path) -> Path:
    """Copy modules without their debug information, which a virtual machine has no use for."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in modules.values():
        shutil.copy2(path, target / path.name)
    names = [str(target / path.name) for path in modules.values()]
    argv = ["strip", "--strip-debug", *names]
    if kernel.sandbox:
        argv = kernel.sandbox.argv(argv, bind=[target], cwd=target)
    run(argv, log=log, timeout=300)
    return target


def judge(driver: Subject, staged: Path, image: str, results: Path, log: Path) -> tuple[Step, int]:
    """Run the suite on a driver; return the step and the exit code of the lab.

    Args:
        driver: The driver.
        staged: The folder with its module and those it is to be loaded with.
        image: The image whose kernel they are for; empty for the lab's own choice.
        results: The folder for the lab's results.
        log: File for what the lab prints.
    """
    argv = [*COMMAND, driver.device, f"--module={staged / driver.path.name}"]
    argv += [f"--modules-dir={staged}", f"--results={results}"]
    argv += [f"--image={image}"] if image else []
    try:
        done = run(argv, check=False, log=log, timeout=_TIMEOUT)
    except ProgramFailed as error:
        return Step("boot", "failed", f"the lab could not be started: {error}"), LAB_FAILED
    if done.returncode == 0:
        return Step("boot", "passed", details=_counts(results)), 0
    lines = (done.stdout + done.stderr).strip().splitlines()
    failed = _failed_rules(results)
    words = {
        1: f"{driver.name} breaks {failed[0] if failed else 'a rule of the protocol'}",
        KERNEL_DIED: f"the kernel died or hung with {driver.name}",
    }
    told = str(_results(folder=results).get("verdict", {}).get("reason", "")).splitlines()
    last = (told or lines[-1:] or ["it said nothing"])[0]
    reason = words.get(done.returncode, f"the lab failed: {last}")
    return Step("boot", "failed", reason, tuple(failed or lines[-20:])), done.returncode


def _results(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "latest/results.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _failed_rules(folder: Path) -> list[str]:
    rules = _results(folder).get("rules", {})
    return [f"the rule {name}" for name, one in rules.items() if one.get("verdict") == "failed"]


def _counts(folder: Path) -> tuple[str, ...]:
    rules = _results(folder).get("rules", {})
    passed = sum(one.get("verdict") == "passed" for one in rules.values())
    return (f"{passed} of {len(rules)} rules passed, none failed",) if rules else ()
