# SPDX-License-Identifier: GPL-2.0-only
"""The command ``matrix``."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from conformance.lab.check.prepare import Options
from conformance.matrix import cells as matrix
from conformance.matrix import page as matrix_page
from conformance.matrix import report as matrix_report
from conformance.matrix import run as matrix_run
from conformance.matrix.cells import Cell
from conformance.report.terminal.output import Output
from conformance.report.text import Style, printable
from conformance.running import paths, selection
from conformance.running.steps import Steps
from kpatch.device.protocols import PROTOCOLS

_PERIOD = 30.0
"""Seconds between two progress lines where output is no terminal."""

_ERASE = "\r\x1b[2K"


def run(arguments: Namespace, _say: Callable[[str], None]) -> int:
    """Run the matrix and return the exit code.

    Raises:
        UsageError: What is asked for does not exist.
        KpatchError: A description has mistakes.
        ReportError: Results cannot be written.
    """
    out = sys.stdout
    cells = _plan(arguments)
    if arguments.list_json or arguments.dry_run:
        _list(cells, out, _extra(arguments) if arguments.dry_run else None)
        return 0
    folder = paths.new_results(arguments.results, "matrix", f"{len(cells)}-cells").absolute()
    watcher = Progress(Output(out), sum(cell.request is not None for cell in cells))
    cells = matrix_run.with_images(cells, Steps(watcher.say))
    jobs = max(1, arguments.jobs or min(os.cpu_count() or 1, len(cells)))
    # Cells in parallel keep the processors busy by themselves.
    extra = [*_extra(arguments), *(["--guests", "1"] if jobs > 1 else [])]
    cells = matrix_run.run(cells, folder, jobs, watcher, extra)
    matrix_report.write(folder, cells)
    page = matrix_page.write(folder, cells)
    watcher.say("")
    for line in matrix_report.table(cells, Style(watcher.out.terminal)):
        watcher.say(line)
    watcher.say(f"\nresults: {folder}")
    watcher.say(f"report: {page.as_uri()}")
    return matrix.exit_code(cells)


def _plan(arguments: Namespace) -> list[Cell]:
    # Cells run elsewhere, so that a path must not depend on where we are.
    names = [str(Path(one).absolute()) if os.sep in one else one for one in arguments.device]
    selection.of_rules(arguments.rule)  # a wrong one is reported once, not by every cell
    columns = matrix.columns(arguments.image, arguments.kernel_tree, arguments.tree_image)
    return matrix.plan(
        names,
        columns,
        Options(),
        arguments.stranger,
        arguments.protocol or PROTOCOLS,
        both=arguments.both,
    )


def _extra(arguments: Namespace) -> list[str]:
    """Return the options that are those of each cell."""
    words = [word for rule in arguments.rule for word in ("--rule", rule)]
    words += ["-k", arguments.keyword] if arguments.keyword else []
    words += ["--accel", arguments.accel] if arguments.accel else []
    return [*words, "--cold"] if arguments.cold else words


def _list(cells: Sequence[Cell], out: TextIO, extra: Sequence[str] | None) -> None:
    """Print the cells as JSON or, with the options of each, as commands."""
    if extra is None:
        out.write(json.dumps(matrix_report.include(cells)) + "\n")
    for cell in cells:
        if cell.request and extra is not None:
            command = matrix_run.argv(cell, Path("results", cell.name), extra)
            out.write(shlex.join(command) + "\n")
        elif cell.request is None:
            words = f"# {matrix_report.line(cell)}\n"
            (sys.stderr if extra is None else out).write(words)


class Progress:
    """Progress of a matrix: one updating line on a terminal, a line from time to time in a log."""

    def __init__(self, out: Output, cells: int) -> None:
        self.out = out
        self._cells = cells
        self._done = 0
        self._last = time.monotonic()
        self._shown = ""

    def say(self, line: str) -> None:
        """Print a line of its own."""
        self.out.write(f"{_ERASE if self._shown else ''}{line}\n")
        self._shown = ""

    def began(self, cell: Cell) -> None:
        """Say that a cell was started."""
        self.say(f"{cell.row} on {cell.column.name} ...")

    def ended(self, cell: Cell) -> None:
        """Say what became of a cell."""
        self._done += 1
        self.say(f"[{self._done}/{self._cells}] {matrix_report.line(cell)}")

    def goes_on(self, running: Sequence[tuple[Cell, str]]) -> None:
        """Show the last words of the cells that run."""
        parts = [f"{cell.name}: {printable(last)}" for cell, last in running]
        if self.out.terminal:
            width = max(shutil.get_terminal_size().columns - 1, 20)
            each = max(width // max(len(parts), 1) - 3, 10)
            text = " | ".join(part[:each] for part in parts)[:width]
            if text != self._shown:
                self.out.write(f"{_ERASE}{text}")
                self._shown = text
        elif parts and time.monotonic() - self._last >= _PERIOD:
            self._last = time.monotonic()
            self.say(f"  {'; '.join(parts)}")
