# SPDX-License-Identifier: GPL-2.0-only
"""The kill matrix, mutant by rule, as text, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.proof.judging.judge import Judged, Verdict

TEXT = "matrix.txt"
JSON = "matrix.json"
MARKDOWN = "matrix.md"

MARKS = {
    "killed": "K",
    "survived": "S",
    "not judged": "?",
    "other": "x",
    "passed": ".",
    "not run": " ",
}
#: What each mark of the kill matrix means.
LEGEND: Mapping[str, str] = {
    "killed": "a test of this rule, which the mutant breaks, failed",
    "survived": "the mutant breaks this rule, and no test of it failed",
    "not judged": "the mutant breaks this rule, and the driver itself passes no test of it",
    "other": "a test of the rule failed too",
    "passed": "all tests of it passed or were skipped",
    "not run": "no test of it was run",
}
_LEGEND = "; ".join(f"{mark.strip() or 'blank'} {LEGEND[word]}" for word, mark in MARKS.items())


def write(
    folder: Path,
    judged: Sequence[Judged],
    unfit: Mapping[str, str],
    fatal: Mapping[str, str] | None = None,
) -> None:
    """Write the matrix in all three forms.

    Args:
        folder: Where to.
        judged: The mutants.
        unfit: Tests that the driver itself fails, and why.
        fatal: Tests that were not run, since the driver itself kills the kernel in them, each
            with the request.
    """
    text = "\n".join([*matrix(judged), *_not_run(fatal or {})]) + "\n"
    (folder / TEXT).write_text(text, "utf-8")
    document = {
        "format": 1,
        "summary": counts(judged),
        "unfit-tests": dict(unfit),
        "fatal-tests": dict(fatal or {}),
        "mutants": [_as_json(one) for one in judged],
    }
    (folder / JSON).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (folder / MARKDOWN).write_text(
        "\n".join([*_markdown(judged), *_not_run(fatal or {})]) + "\n", "utf-8"
    )


def counts(judged: Sequence[Judged]) -> dict[str, int]:
    """Return how many mutants have each verdict."""
    return {
        str(verdict): number
        for verdict in Verdict
        if (number := sum(one.verdict is verdict for one in judged))
    }


def line(one: Judged) -> str:
    """Say what became of a mutant, in a line."""
    if one.verdict is Verdict.KILLED:
        first = {rule: tests[0] for rule, tests in one.killers.items()}
        shown = ", ".join(f"{rule} by {test}" for rule, test in first.items())
        return f"{one.mutant.id}: killed ({shown})"
    parts = [f"{one.mutant.id}: {one.verdict.upper()}", one.mutant.defect]
    if one.survived:
        parts.append(f"no test failed of {', '.join(one.survived)}")
    if one.blind:
        parts.append(f"the driver itself passes no test of {', '.join(one.blind)}")
    if one.others:
        parts.append(f"tests failed of {', '.join(one.others)}")
    return "; ".join([*parts, *([one.detail] if one.detail else [])])


def matrix(judged: Sequence[Judged]) -> Iterator[str]:
    """Yield the matrix, one part for each group of rules."""
    yield _LEGEND
    width = max((len(one.mutant.id) for one in judged), default=0)
    for group in dict.fromkeys(_group(rule) for one in judged for rule in one.mutant.rules):
        rows = [one for one in judged if any(_group(rule) == group for rule in one.mutant.rules)]
        broken = {rule for row in rows for rule in row.mutant.rules if _group(rule) == group}
        rules = sorted(broken)
        yield ""
        for number, rule in enumerate(rules):
            yield f"{'':{width}}  {'|' * number}{rule}"
        for row in rows:
            cells = "".join(MARKS[cell(row, rule)] for rule in rules)
            yield f"{row.mutant.id:{width}}  {cells}"


def _not_run(fatal: Mapping[str, str]) -> Iterator[str]:
    """Name the tests that were not run."""
    if fatal:
        yield ""
        yield "Not run, since the driver without a defect kills the kernel there:"
        yield ""
        yield from (f"- `{test}`, by {request}" for test, request in fatal.items())


def _group(rule: str) -> str:
    return rule.partition(".")[0]


def cell(one: Judged, rule: str) -> str:
    """Return the word of a cell of the kill matrix."""
    if rule in one.killers:
        if one.killers[rule]:
            return "killed"
        return "not judged" if rule in one.blind else "survived"
    if rule in one.others:
        return "other"
    return "passed" if rule in one.ran else "not run"


def _as_json(one: Judged) -> dict[str, Any]:
    return {
        "id": one.mutant.id,
        "verdict": str(one.verdict),
        "defect": one.mutant.defect,
        "seen": one.mutant.seen,
        "rules": {rule: list(tests) for rule, tests in one.killers.items()},
        "other-rules": list(one.others),
        "rules-run": list(one.ran),
        "detail": one.detail,
    }


def _markdown(judged: Sequence[Judged]) -> Iterator[str]:
    yield "| mutant | verdict | rule | killed by |"
    yield "|---|---|---|---|"
    for one in judged:
        head = f"{one.mutant.id}: {one.mutant.defect}"
        for rule, tests in one.killers.items():
            more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
            shown = f"`{tests[0]}`{more}" if tests else "nothing"
            yield f"| {head} | {one.verdict} | {rule} | {shown} |".replace("->", "-&gt;")
