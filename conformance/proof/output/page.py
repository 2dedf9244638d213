# SPDX-License-Identifier: GPL-2.0-only
"""The page of a proof: the mutants of all drivers, and the kill matrix of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance.proof.judging.judge import Judged, Verdict
from conformance.proof.output.matrix import LEGEND, MARKS, cell, counts
from conformance.report.files import write_whole
from conformance.report.page import HTML_FILE
from conformance.report.page.environment import page
from conformance.report.results import group_of
from conformance.report.text import slug


@dataclass(frozen=True)
class Proved:
    """The mutants of one driver, and the tests that prove nothing of them.

    Attributes:
        driver: Its name.
        judged: The mutants.
        unfit: Tests that the driver itself fails, and why.
        fatal: Tests that were not run, since the driver itself kills the kernel in them, each
            with the request.
        foreign: Whether it is a stranger, of which failures are findings.
    """

    driver: str
    judged: Sequence[Judged]
    unfit: Mapping[str, str]
    fatal: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False

    @property
    def good(self) -> bool:
        """Whether each mutant was killed, by tests that the driver itself passes."""
        killed = all(one.verdict is Verdict.KILLED for one in self.judged)
        return killed and (self.foreign or not self.unfit)


@dataclass(frozen=True)
class _Row:
    """A mutant in the table."""

    driver: str
    of: Judged

    @property
    def id(self) -> str:
        """Its name."""
        return self.of.mutant.id

    @property
    def verdict(self) -> str:
        """What became of it."""
        return str(self.of.verdict)

    @property
    def slug(self) -> str:
        """The verdict, as the style names it."""
        return slug(self.verdict)

    @property
    def groups(self) -> list[str]:
        """The groups of the rules that it breaks."""
        return list(dict.fromkeys(map(group_of, self.of.mutant.rules)))


@dataclass(frozen=True)
class _Part:
    """The kill matrix of one driver and one group of rules; each cell is a mark and its word."""

    driver: str
    group: str
    rules: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]


@dataclass
class Sheet:
    """The page as it grows, a driver at a time; it is whole after each.

    Args:
        folder: Where it is.
        planned: How many mutants are to be judged, of all drivers.
    """

    folder: Path
    planned: int
    parts: list[Proved] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The page."""
        return self.folder.absolute() / HTML_FILE

    def add(self, proved: Proved) -> None:
        """Write the page again, with one more driver.

        Raises:
            ResultsFolderError: The folder cannot be written.
        """
        self.parts.append(proved)
        write_whole(self.path, render(self.parts, self.planned))


def render(parts: Sequence[Proved], planned: int) -> str:
    """Return the page.

    Args:
        parts: What is known of each driver.
        planned: How many mutants there are to be, of all drivers.
    """
    rows = [_Row(part.driver, one) for part in parts for one in part.judged]
    missing = planned - len(rows)
    counted = ", ".join(
        f"{number} {word}" for word, number in counts([row.of for row in rows]).items()
    )
    groups = list(dict.fromkeys(group for row in rows for group in row.groups))
    return page(
        "mutants.html.j2",
        title=f"Mutants: {counted}",
        subject=f"{len(rows)} mutants of {', '.join(part.driver for part in parts)}",
        good=not missing and all(part.good for part in parts),
        counted=counted or "nothing was judged",
        missing=missing,
        rows=rows,
        drivers=[(part.driver, part.driver) for part in parts],
        verdicts=[(slug(str(one)), str(one)) for one in Verdict],
        groups=[(group, group) for group in groups],
        legend=[(MARKS[word].strip() or "blank", word, text) for word, text in LEGEND.items()],
        parts_of_matrix=[part for proved in parts for part in _matrix(proved)],
        unfit=[pair for part in parts for pair in part.unfit.items()],
        fatal=[pair for part in parts for pair in part.fatal.items()],
    )


def _matrix(proved: Proved) -> Iterator[_Part]:
    broken = [rule for one in proved.judged for rule in one.mutant.rules]
    for group in dict.fromkeys(map(group_of, broken)):
        rules = sorted({rule for rule in broken if group_of(rule) == group})
        rows = []
        for one in proved.judged:
            if any(rule in rules for rule in one.mutant.rules):
                words = [cell(one, rule) for rule in rules]
                rows.append((one.mutant.id, [(MARKS[word], word) for word in words]))
        yield _Part(proved.driver, group, rules, rows)
