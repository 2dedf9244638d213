# SPDX-License-Identifier: GPL-2.0-only
"""The page of a matrix: its table, and each cell with the reason for its state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from conformance.matrix.cells import Cell, State, exit_code
from conformance.matrix.report import kernel_of, rows_of
from conformance.report.files import write_whole
from conformance.report.page import HTML_FILE
from conformance.report.page.environment import page
from conformance.report.text import plural, slug


@dataclass(frozen=True)
class _Shown:
    """A cell as the page has it; `page` is that of its own run, if there is one."""

    number: int
    row: str
    column: str
    state: str
    passed: int
    rules: int
    failed: tuple[str, ...]
    seconds: float
    reason: str
    page: str

    @property
    def slug(self) -> str:
        """The state, as the style names it."""
        return slug(self.state)


def write(folder: Path, cells: Sequence[Cell]) -> Path:
    """Write the page and return its path.

    Raises:
        ResultsFolderError: The folder cannot be written.
    """
    path = folder / HTML_FILE
    write_whole(path, render(folder, cells))
    return path


def render(folder: Path, cells: Sequence[Cell]) -> str:
    """Return the page of a matrix whose folder it is in."""
    rows, columns = rows_of(cells)
    numbers = {id(cell): number for number, cell in enumerate(cells, 1)}
    shown = {
        name: [_shown(folder, cell, numbers[id(cell)]) for cell in row]
        for name, row in rows.items()
    }
    named = plural(len(rows), "row") + " on " + plural(len(columns), "kernel")
    return page(
        "matrix.html.j2",
        title=f"Matrix: {_counted(cells)}",
        subject=f"{plural(len(cells), 'cell')}: {named}",
        counted=_counted(cells),
        exit_code=exit_code(cells),
        columns=[(column.name, kernel_of(cells, column)) for column in columns],
        rows=shown,
        devices=_options(rows),
        kernels=_options(column.name for column in columns),
        states=[(slug(state.value), state.value) for state in State],
    )


def _options(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


def _counted(cells: Sequence[Cell]) -> str:
    numbers = [(sum(cell.state is state for cell in cells), state.value) for state in State]
    return ", ".join(f"{words}: {number}" for number, words in numbers if number)


def _shown(folder: Path, cell: Cell, number: int) -> _Shown:
    own = cell.folder / HTML_FILE if cell.folder else None
    return _Shown(
        number,
        cell.row,
        cell.column.name,
        cell.state.value,
        cell.count("passed"),
        cell.count(""),
        tuple(cell.failed_rules),
        cell.seconds,
        cell.reason,
        quote(str(own.relative_to(folder))) if own and own.exists() else "",
    )
