# SPDX-License-Identifier: GPL-2.0-only
"""A matrix as a table for people, as JSON and as JUnit XML."""
# mypy: allow-untyped-calls
# (junitparser ships py.typed, but only some of its methods have annotations)

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from conformance import __version__
from conformance.matrix import documented
from conformance.matrix.cells import Cell, Column, State, exit_code
from conformance.report.files import write_whole
from conformance.report.results import RuleVerdict
from conformance.report.text import Style, plural, printable

JSON, MARKDOWN, JUNIT = "matrix.json", "matrix.md", "junit.xml"

SCHEMA = 1
"""Increases when a key of the JSON changes its meaning or is removed."""

_RULES = 4
"""Number of failed rules that a reason names."""


def table(cells: Sequence[Cell], style: Style) -> Iterator[str]:
    """Yield the table, and below it what its numbers are and why a cell does not conform."""
    rows, head = rows_of(cells)
    notes = _notes(cells)
    texts = [[name, *(_words(cell, notes) for cell in row)] for name, row in rows.items()]
    heads = [["", *(column.name for column in head)], ["", *(kernel_of(cells, c) for c in head)]]
    widths = [max(len(line[at]) for line in [*heads, *texts]) for at in range(len(head) + 1)]
    for line in heads:
        yield "  ".join(
            text.ljust(width) for text, width in zip(line, widths, strict=True)
        ).rstrip()
    for (_, row), line in zip(rows.items(), texts, strict=True):
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        painted = [_paint(cell, text, style) for cell, text in zip(row, padded[1:], strict=True)]
        yield "  ".join([padded[0], *painted]).rstrip()
    if any(cell.count("") for cell in cells):
        yield ""
        yield "rules passed / all rules; in a conforming cell the rest was not tested or not "
        "applicable"
    for number, (cell, reason) in enumerate(notes, 1):
        yield ""
        yield f"({number}) {cell.row} on {cell.column.name}: {cell.state.value}: {reason}"
        if cell.folder:
            yield f"    {cell.folder}"


def line(cell: Cell) -> str:
    """Say in a line what became of a cell."""
    words = f"{cell.row} on {cell.column.name}: {cell.state.value}"
    if cell.count(""):
        words += f", {cell.count('passed')} of {plural(cell.count(''), 'rule')} passed"
    if cell.seconds:
        words += f", {cell.seconds:.0f} s"
    return f"{words}{f': {_reason(cell)}' if _reason(cell) else ''}"


def write(folder: Path, cells: Sequence[Cell]) -> None:
    """Write `matrix.json`, `matrix.md` and `junit.xml`.

    Raises:
        ResultsFolderError: The folder cannot be written.
    """
    write_whole(folder / JSON, json.dumps(document(folder, cells), indent=1) + "\n")
    write_whole(folder / MARKDOWN, "\n".join(_markdown(folder, cells)) + "\n")
    write_whole(folder / JUNIT, _junit(cells))


def document(folder: Path, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what `matrix.json` holds."""
    return {
        "schema": SCHEMA,
        "kit": __version__,
        "exit_code": exit_code(cells),
        "cells": [_as_json(folder, cell) for cell in cells],
    }


def include(cells: Sequence[Cell]) -> dict[str, list[dict[str, str]]]:
    """Return the cells that can be run in the form of a CI's matrix, as GitHub's has it."""
    found = []
    for cell in cells:
        if cell.request:
            options = cell.options
            what = (
                {"stranger": options.stranger}
                if options.stranger
                else {"device": cell.options.device}
            )
            one = {**what, "image": options.image, "name": cell.name}
            if options.protocol:
                one["protocol"] = options.protocol
            if options.both:
                one["both"] = "--both"
            one["summary"] = cell.request.definition.summary
            if cell.options.kernel_tree:
                one["kernel-tree"] = str(cell.options.kernel_tree)
            found.append(one)
    return {"include": found}


def rows_of(cells: Sequence[Cell]) -> tuple[dict[str, list[Cell]], list[Column]]:
    """Return the cells of each row, and the columns."""
    rows: dict[str, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.row, []).append(cell)
    return rows, list(dict.fromkeys(cell.column for cell in cells))


def kernel_of(cells: Sequence[Cell], column: Column) -> str:
    """Return the release of a column's kernel, if a cell has reported it."""
    for cell in cells:
        release = cell.results.get("versions", {}).get("kernel")
        if cell.column == column and release:
            return str(release)
    return ""


def _notes(cells: Sequence[Cell]) -> list[tuple[Cell, str]]:
    return [(cell, _reason(cell)) for cell in cells if cell.state is not State.CONFORMS]


def _words(cell: Cell, notes: Sequence[tuple[Cell, str]]) -> str:
    count = f" {cell.count('passed')}/{cell.count('')}" if cell.count("") else ""
    at = next((f" ({n})" for n, (one, _) in enumerate(notes, 1) if one is cell), "")
    return f"{cell.state.value}{count}{at}"


def _reason(cell: Cell) -> str:
    failed = cell.failed_rules
    shown = ", ".join(failed[:_RULES]) + (
        f" and {len(failed) - _RULES} more" * (len(failed) > _RULES)
    )
    first = printable(cell.reason).splitlines()[0] if cell.reason else ""
    return f"{first} ({shown})" if failed else first


def _paint(cell: Cell, text: str, style: Style) -> str:
    if cell.state in (State.CONFORMS, State.AS_DOCUMENTED):
        return style.green(text)
    return style.yellow(text) if cell.state is State.NOT_RUN else style.red(text)


def _as_json(folder: Path, cell: Cell) -> dict[str, Any]:
    versions = cell.results.get("versions", {})
    return {
        "device": cell.device,
        "protocol": cell.options.protocol,
        "both": cell.options.both,
        "image": cell.column.image,
        "kernel-tree": str(cell.column.kernel_tree) if cell.column.kernel_tree else None,
        "name": cell.name,
        "state": cell.state.value,
        "reason": cell.reason,
        "exit_code": cell.exit_code,
        "seconds": round(cell.seconds, 1),
        "kernel": versions.get("kernel"),
        "qemu": versions.get("qemu"),
        "rules": cell.results.get("counts", {}).get("rules"),
        "tests": cell.results.get("counts", {}).get("tests"),
        "failed": cell.failed_rules,
        "folder": str(cell.folder.relative_to(folder)) if cell.folder else None,
    }


def _markdown(folder: Path, cells: Sequence[Cell]) -> Iterator[str]:
    rows, head = rows_of(cells)
    notes = _notes(cells)
    yield "| device | " + " | ".join(f"{c.name} {kernel_of(cells, c)}".strip() for c in head) + " |"
    yield "|---|" + "---|" * len(head)
    for name, row in rows.items():
        yield f"| {name} | " + " | ".join(_words(cell, notes) for cell in row) + " |"
    for number, (cell, reason) in enumerate(notes, 1):
        where = f" See `{cell.folder.relative_to(folder)}`." if cell.folder else ""
        yield ""
        yield f"({number}) {cell.row} on {cell.column.name}: {cell.state.value}: {reason}{where}"


def _compared(cell: Cell) -> TestSuite:
    suite = TestSuite(cell.name)
    for rule, verdict in documented.verdicts(cell).items():
        case = TestCase(rule, f"conformance.{rule.partition('.')[0]}", 0.0)
        if verdict not in (RuleVerdict.PASSED, RuleVerdict.FAILED):
            case.append(Skipped(verdict, verdict))
        elif said := documented.deviates(cell, rule):
            case.append(Failure(f"docs/findings.md says otherwise: {said}", "undocumented"))
        elif verdict == RuleVerdict.FAILED:
            case.system_out = "failed, as docs/findings.md says"
        suite.add_testcase(case)
    return suite


def _junit(cells: Sequence[Cell]) -> str:
    """Return all cells' files as one, and a case for each cell that left none.

    Of a driver with documented findings there is a case for each rule: is it as documented?
    """
    xml = JUnitXml("vfio-migration-matrix")
    for cell in cells:
        if documented.applies(cell):
            xml.add_testsuite(_compared(cell))
            continue
        own = cell.folder / "junit.xml" if cell.folder else None
        if own and own.exists() and cell.results:
            for suite in JUnitXml.fromfile(str(own)):
                suite.name = f"{cell.name}.{suite.name}"
                xml.add_testsuite(suite)
            continue
        suite = TestSuite(cell.name)
        case = TestCase(cell.name, "conformance.matrix", cell.seconds)
        kind = Skipped if cell.state is State.NOT_RUN else Error
        case.append(kind(printable(cell.reason), cell.state.value))
        suite.add_testcase(case)
        xml.add_testsuite(suite)
    xml.update_statistics()
    buffer = io.BytesIO()
    xml.write(buffer, pretty=True)
    return buffer.getvalue().decode()
