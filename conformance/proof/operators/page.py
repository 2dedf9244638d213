# SPDX-License-Identifier: GPL-2.0-only
"""The page of a sample of operator mutants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conformance.proof.operators.fate import Fate
from conformance.report.files import write_whole
from conformance.report.page import HTML_FILE
from conformance.report.page.environment import page, window_title

_FATES = ("survived", "killed", "equivalent", "beyond the lab")


def write(folder: Path, driver: str, fates: Sequence[Fate], conclusion: Sequence[str]) -> Path:
    """Write the page and return its path; what survived comes first.

    Args:
        folder: Where to.
        driver: Of which driver they are.
        fates: What became of each.
        conclusion: The same in some lines.

    Raises:
        ResultsFolderError: The folder cannot be written.
    """
    path = folder.absolute() / HTML_FILE
    rows = sorted(((one.word, one) for one in fates), key=lambda row: _FATES.index(row[0]))
    text = page(
        "operators.html.j2",
        title=window_title(f"Operator mutants: {conclusion[0]}"),
        subject=f"{len(fates)} mutants of {driver}",
        good=all(one.word != "survived" for one in fates),
        conclusion=conclusion,
        rows=rows,
        fates=[(word, word) for word in _FATES],
        files=[(name, name) for name in dict.fromkeys(one.mutant.file for one in fates)],
    )
    write_whole(path, text)
    return path
