# SPDX-License-Identifier: GPL-2.0-only
"""Loads the modules of a patched tree in the lab's virtual machine and has the suite judge them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.errors import ConformanceError
from conformance.gate.results import Step
from conformance.lab.check import run as lab
from conformance.lab.check.prepare import Options, look_up
from conformance.report import Conclusion, ReportError
from kpatch.device import load as device
from kpatch.errors import KpatchError
from kpatch.kernel.tree import KernelTree
from kpatch.module import info as module
from kpatch.tools.programs import run

# A driver with the region of version 1 of the protocol, or with the operations of version 2.
_MIGRATES = re.compile(r"VFIO_REGION_TYPE_MIGRATION_DEPRECATED|\bvfio_migration_ops\b")
_TRAPS = "VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING"


@dataclass(frozen=True)
class Subject:
    """A driver to be judged.

    Attributes:
        name: The module.
        path: Its file.
        device: The device that the lab has and the driver is for.
        traps: Whether it says what must not be mapped while saving.
    """

    name: str
    path: Path
    device: str
    traps: bool = True


OURS = Subject("the kit's driver of igb-vf", Path(), "igb-vf")
"""What judges a kernel whose core code is touched, and none of its drivers."""


def subject(modules: Mapping[str, Path], touched: Sequence[str], place: Path) -> Subject | None:
    """Return the driver that the patches so far make or change and a device of the kit has.

    None if there is none, or if it cannot migrate yet: a pass-through driver has no protocol that
    could be kept.
    """
    for name, path in modules.items():
        folder = path.parent.relative_to(place)
        if not any(Path(one).parent == folder for one in touched):
            continue
        sources = [one.read_text("latin-1") for one in path.parent.glob("*.c")]
        if not any(_MIGRATES.search(text) for text in sources):
            continue
        traps = any(_TRAPS in text for text in sources)
        aliases = module.read(path).aliases
        for known in device.names():
            ids = device.load(known).ids
            wanted = {f"vfio_pci:v{one.vendor:08X}d{one.device:08X}" for one in ids}
            if any(alias.startswith(tuple(wanted)) for alias in aliases):
                return Subject(name, path, known, traps)
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


def of_modules(driver: Subject, staged: Path) -> Options:
    """Return the lab's options for a driver among modules that go with an image's kernel.

    Args:
        driver: The driver.
        staged: The folder with its module and those it is to be loaded with.
    """
    module = staged / driver.path.name
    return Options(driver.device, module=module, modules_dir=staged)


def of_tree(driver: Subject, place: Path) -> Options:
    """Return the lab's options for a driver in a tree whose kernel is booted.

    For `OURS` the lab renders and builds its own driver for that kernel.
    """
    module = None if driver == OURS else driver.path
    return Options(driver.device, kernel_tree=place, module=module)


def judge(driver: Subject, options: Options, results: Path, log: Path) -> tuple[Step, int]:
    """Run the suite on a driver; return the step and the exit code of the lab.

    Args:
        driver: The driver.
        options: What the lab is to run.
        results: The folder for the lab's results; made here.
        log: File for what the lab prints.

    Raises:
        KeyboardInterrupt: The user interrupted it.
    """
    shutil.rmtree(results, ignore_errors=True)
    try:
        results.mkdir(parents=True)
        with log.open("a", encoding="utf-8") as out:
            status = lab.check(look_up(options), results, out)
    except (ConformanceError, KpatchError, ReportError, OSError) as error:
        # What it was asked for is the gate's choice, so nobody else is to blame.
        return Step("boot", "failed", f"the lab failed: {error}"), Conclusion.LAB_FAILED.exit_code
    if status == Conclusion.INTERRUPTED.exit_code:
        raise KeyboardInterrupt
    if status == Conclusion.BAD_USAGE.exit_code:
        status = Conclusion.LAB_FAILED.exit_code  # nobody but the gate chose what is run
    return _step(driver.name, status, _results(results)), status


def _step(name: str, status: int, results: Mapping[str, Any]) -> Step:
    """Return the step for an exit code of the lab and its file of results."""
    rules = results.get("rules", {})
    if status == Conclusion.CONFORMS.exit_code:
        passed = sum(rule.get("verdict") == "passed" for rule in rules.values())
        words = f"{passed} of {len(rules)} rules passed, none failed"
        return Step("boot", "passed", details=(words,) * bool(rules))
    said = str(results.get("verdict", {}).get("reason", "")).strip() or "it does not say why"
    if status == Conclusion.NOT_APPLICABLE.exit_code:
        return Step("boot", "skipped", f"{name} has nothing to be judged: {said}")
    failed = tuple(f"the rule {key}" for key, one in rules.items() if one["verdict"] == "failed")
    lines = tuple(said.splitlines())
    if status == Conclusion.REQUIREMENT_FAILED.exit_code:
        reason = f"{name} breaks {failed[0]}" if failed else f"{name}: {lines[0]}"
    elif status == Conclusion.KERNEL_DIED.exit_code:
        reason = f"the kernel died or hung with {name}: {lines[0]}"
    else:
        reason = f"the lab failed: {lines[0]}"
    return Step("boot", "failed", reason, (*failed, *lines))


def _results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text("utf-8"))
    return found
