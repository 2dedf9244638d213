# SPDX-License-Identifier: GPL-2.0-only
"""Sums up gcov's counts of lines and branches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FileCoverage:
    """What was executed of a file.

    Attributes:
        path: The file.
        lines: How often each line with code was executed, by its number.
        branches: How often each branch of a line was taken, by the line's number.
    """

    path: Path
    lines: Mapping[int, int]
    branches: Mapping[int, Sequence[int]]

    @property
    def missed(self) -> list[int]:
        """The lines that were never executed."""
        return [number for number, count in sorted(self.lines.items()) if not count]

    @property
    def line_counts(self) -> tuple[int, int]:
        """How many lines were executed, and how many there are."""
        return len(self.lines) - len(self.missed), len(self.lines)

    @property
    def branch_counts(self) -> tuple[int, int]:
        """How many branches were taken, and how many there are."""
        every = [count for counts in self.branches.values() for count in counts]
        return sum(count > 0 for count in every), len(every)

    def as_json(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        lines, branches = self.line_counts, self.branch_counts
        source = self.path.read_text(encoding="utf-8").splitlines()
        half = {n: list(c) for n, c in sorted(self.branches.items()) if 0 in c and any(c)}
        return {
            "file": self.path.name,
            "lines": {"executed": lines[0], "all": lines[1]},
            "branches": {"taken": branches[0], "all": branches[1]},
            "lines-missed": {str(number): source[number - 1].strip() for number in self.missed},
            "branches-missed": {str(number): counts for number, counts in half.items()},
        }


def merge(entries: Iterable[tuple[Path, Sequence[Mapping[str, Any]]]]) -> list[FileCoverage]:
    """Add up what is said of the same file more than once, as of a header."""
    lines: dict[Path, dict[int, int]] = {}
    branches: dict[Path, dict[int, list[int]]] = {}
    for path, said in entries:
        for line in said:
            number = line["line_number"]
            counts = lines.setdefault(path, {})
            counts[number] = counts.get(number, 0) + line["count"]
            taken = [branch["count"] for branch in line["branches"]]
            if not taken:
                continue
            before = branches.setdefault(path, {}).setdefault(number, [0] * len(taken))
            if len(before) == len(taken):
                branches[path][number] = [a + b for a, b in zip(before, taken, strict=True)]
            else:  # the same line, compiled differently elsewhere
                before.extend(taken)
    return [FileCoverage(path, lines[path], branches.get(path, {})) for path in sorted(lines)]


def table(files: Sequence[FileCoverage]) -> list[str]:
    """Return lines for people: a row for each file, the lines skipped, the sum at the end."""
    rows = [f"{'file':<16} {'lines':>17} {'branches':>17}"]
    rows += [_row(file.path.name, file.line_counts, file.branch_counts) for file in files]
    for file in files:
        if file.missed:
            source = file.path.read_text(encoding="utf-8").splitlines()
            rows += ["", f"{file.path.name}: lines that were never executed"]
            rows += [f"{number:>6}  {source[number - 1]}" for number in file.missed]
    lines = _sum(file.line_counts for file in files)
    branches = _sum(file.branch_counts for file in files)
    return [*rows, "", f"{_part(*lines)} of lines, {_part(*branches)} of branches"]


def _row(name: str, lines: tuple[int, int], branches: tuple[int, int]) -> str:
    return f"{name:<16} {_part(*lines):>17} {_part(*branches):>17}"


def _part(some: int, every: int) -> str:
    """Say how much of something was reached.

    >>> _part(19, 20)
    '19/20 = 95.0 %'
    """
    return f"{some}/{every} = {100 * some / every:.1f} %" if every else "none"


def _sum(counts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    some, every = 0, 0
    for one, of in counts:
        some, every = some + one, every + of
    return some, every
