# SPDX-License-Identifier: GPL-2.0-only
"""Runs the cells of a matrix in parallel, each as a process.

Restored guests do not disturb each other; booting guests wait for one another (see
conformance.lab.guest.bringup). A guest without KVM keeps one processor busy.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from conformance.errors import LabError
from conformance.lab.image import image
from conformance.lab.image.image import Image
from conformance.matrix import documented
from conformance.matrix.cells import STATES, Cell, State, with_emulator, with_kernel
from conformance.running import paths
from conformance.running.steps import Steps
from kpatch.tools import programs

LOG = "check.log"
"""What a cell's run printed."""

_TICK = 0.2
_GRACE = 15.0
"""Seconds a cell gets to end its guest and to write its results."""


class Watcher(Protocol):
    """Receives the progress."""

    def began(self, cell: Cell) -> None:
        """Say that a cell was started."""

    def goes_on(self, running: Sequence[tuple[Cell, str]]) -> None:
        """Show those that run, each with the last line that it printed."""

    def ended(self, cell: Cell) -> None:
        """Say what became of a cell."""


@dataclass
class _Run:
    cell: Cell
    process: programs.Running
    stack: contextlib.ExitStack
    begun: float


def argv(cell: Cell, folder: Path, extra: Sequence[str]) -> list[str]:
    """Return the command that runs a cell, from the folder of the kit.

    Args:
        cell: The cell.
        folder: Gets its results.
        extra: More options of ``check``.

    A driver of the kernel is judged without random walks.
    """
    options = cell.options
    words = [sys.executable, "-m", "conformance", "check"]
    words += ["--stranger", options.stranger] if options.stranger else [options.device]
    words += ["--protocol", options.protocol] if options.protocol else []
    words += ["--both"] if options.both else []
    words += ["--image", options.image, "--into", str(folder)]
    words += ["--kernel-tree", str(options.kernel_tree)] if options.kernel_tree else []
    return [*words, *(_without_walks(extra) if options.stranger else extra)]


def _without_walks(extra: Sequence[str]) -> list[str]:
    """Return options of ``check`` with which no random walk runs.

    What a walk meets in a driver with faults depends on chance; what always fails is documented.
    """
    words = list(extra)
    if "-k" not in words:
        return [*words, "-k", "not walk"]
    at = words.index("-k") + 1
    words[at] = f"({words[at]}) and not walk"
    return words


def with_images(cells: Sequence[Cell], steps: Steps) -> list[Cell]:
    """Make all images that are needed, one after another, and look at their QEMU.

    Cells whose image cannot be made have failed.
    """
    made: dict[str, Image | str] = {}
    done = []
    for cell in cells:
        if cell.request is None:
            done.append(cell)
            continue
        for definition in (cell.request.definition, cell.request.emulator):
            if definition.name not in made:
                try:
                    made[definition.name] = image.provide(definition, steps)
                except LabError as error:
                    made[definition.name] = str(error)
        found = made[cell.request.definition.name], made[cell.request.emulator.name]
        wrong = next((one for one in found if isinstance(one, str)), None)
        if wrong is not None:
            failed = replace(cell, request=None, state=State.LAB_FAILED, reason=wrong, exit_code=4)
            done.append(failed)
        elif isinstance(found[0], Image) and isinstance(found[1], Image):
            fit = with_emulator(cell, str(found[1].manifest["qemu"]))
            done.append(with_kernel(fit, found[0].release))
    return done


def run(
    cells: Sequence[Cell], parent: Path, jobs: int, watcher: Watcher, extra: Sequence[str] = ()
) -> list[Cell]:
    """Run all cells that can be run.

    Args:
        cells: All of them.
        parent: The folder that gets a folder for each.
        jobs: How many run at a time.
        watcher: Receives the progress.
        extra: More options of ``check`` for all of them.

    Returns:
        The cells with their states, in the same order; also if it is interrupted.
    """
    done = {cell.name: cell for cell in cells}
    waiting = [cell for cell in cells if cell.request]
    running: list[_Run] = []
    with contextlib.ExitStack() as everything:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    one = _start(waiting.pop(0), parent, extra, everything)
                    running.append(one)
                    watcher.began(one.cell)
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    done[one.cell.name] = _end(one, extra)
                    watcher.ended(done[one.cell.name])
                watcher.goes_on([(one.cell, _last(one.cell)) for one in running])
                time.sleep(_TICK)
        except KeyboardInterrupt:
            for one in running:
                done[one.cell.name] = _interrupted(one.cell)
            for cell in waiting:
                done[cell.name] = _interrupted(cell)
    return list(done.values())


def _interrupted(cell: Cell) -> Cell:
    return replace(cell, state=State.NOT_RUN, reason="interrupted", exit_code=130)


def _start(
    cell: Cell, parent: Path, extra: Sequence[str], everything: contextlib.ExitStack
) -> _Run:
    folder = parent / cell.name
    folder.mkdir()
    stack = everything.enter_context(contextlib.ExitStack())
    command = argv(cell, folder, extra)
    process = stack.enter_context(
        programs.start(command, cwd=paths.KIT, log=folder / LOG, grace=_GRACE)
    )
    return _Run(replace(cell, folder=folder), process, stack, time.monotonic())


def _end(one: _Run, extra: Sequence[str]) -> Cell:
    code = one.process.poll()
    one.stack.close()
    cell = replace(one.cell, seconds=time.monotonic() - one.begun)
    return judged(cell, code or 0, whole=not {"-k", "--rule"} & set(extra))


def judged(cell: Cell, code: int, *, whole: bool = True) -> Cell:
    """Return a cell that has run, with its state.

    Args:
        cell: The cell; what its run left is in its folder.
        code: The status with which it ended.
        whole: Whether the whole suite ran.
    """
    assert cell.folder
    if code not in STATES:
        reason = f"exit status {code}: {_last(cell) or 'no output'}"
        known = code in (2, 130)
        state = State.NOT_RUN if known else State.LAB_FAILED
        return replace(cell, state=state, reason=reason, exit_code=code if known else 4)
    try:
        results = json.loads((cell.folder / "results.json").read_text("utf-8"))
    except (OSError, ValueError):
        # A status says nothing without the results that go with it.
        reason = f"it left no results; its last line: {_last(cell) or 'nothing'}"
        return replace(cell, state=State.LAB_FAILED, reason=reason, exit_code=4)
    reason = results["verdict"]["reason"]
    ended = replace(cell, state=STATES[code], reason=reason, exit_code=code, results=results)
    return documented.compared(ended, whole=whole)


def _last(cell: Cell) -> str:
    return next(reversed([line for line in _lines(cell) if line.strip()]), "")


def _lines(cell: Cell) -> Iterator[str]:
    """Yield the last lines that a cell's run printed, without its command."""
    assert cell.folder
    with contextlib.suppress(OSError), (cell.folder / LOG).open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read().decode("utf-8", "replace").splitlines()
        yield from (line for line in lines if not line.startswith("$ "))
