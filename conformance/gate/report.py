# SPDX-License-Identifier: GPL-2.0-only
"""The gate's results for people and for CI: a table, Markdown, JUnit, JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

from conformance.gate.results import STEPS, PatchResult, Report, Step

_SIGNS = {
    "passed": "ok",
    "failed": "FAIL",
    "skipped": "-",
    "noted": "note",
    "not built": "not built",
}
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDTH = 46
_SHOWN = 12  # details of a failure on the terminal


def plain(text: str) -> str:
    r"""Show what a terminal would obey as Python would write it: a subject is anybody's.

    >>> plain("vfio: \x1b[2J é\tA")
    'vfio: \\x1b[2J é\tA'
    """
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def table(report: Report) -> list[str]:
    """Return the lines for a terminal: a row for each patch, then what failed and why."""
    used = [name for name in STEPS if any(patch.step(name) for patch in report.patches)]
    head = f"{'':3} {'patch':{_WIDTH}} " + " ".join(f"{name:>{_column(name)}}" for name in used)
    lines = [head, "-" * len(head)]
    for patch in report.patches:
        subject = (
            patch.subject if len(patch.subject) <= _WIDTH else patch.subject[: _WIDTH - 3] + "..."
        )
        cells = (f"{_sign(patch.step(name)):>{_column(name)}}" for name in used)
        kept = "  (kept)" if patch.kept else ""
        lines.append(f"{patch.number:3} {subject:{_WIDTH}} {' '.join(cells)}{kept}")
    for note, numbers in _notes(report).items():
        which = f"patch{'es' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
        lines += ["", f"{which}: note: {note}"]
    for patch in report.patches:
        for step in patch.failures:
            lines += _failure(patch, step)
    lines += ["", verdict(report)]
    return lines


def verdict(report: Report) -> str:
    """Return the last word, in a sentence."""
    count = len(report.patches)
    what = f"{count} patch{'' if count == 1 else 'es'} on Linux {report.version}"
    bad = [patch for patch in report.patches if patch.failures]
    unbuilt = [str(patch.number) for patch in report.patches if patch.unbuilt]
    if not bad:
        passed = f"PASSED: {what}"
        if unbuilt:
            passed += f"; NOT BUILT, or not all of it: patch {', '.join(unbuilt)}"
        return f"{passed}." if report.passed else f"NOT JUDGED TO THE END: {what}."
    first = bad[0]
    steps = ", ".join(step.name for step in first.failures)
    more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"FAILED: {what}; first at patch {first.number} ({first.subject}): {steps}{more}."


def write(report: Report, folder: Path) -> None:
    """Write gate.json, gate.md and junit.xml into the folder of results."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gate.json").write_text(json.dumps(report.data(), indent=2) + "\n", "utf-8")
    text = "\n".join(markdown(report)) + "\n"
    (folder / "gate.md").write_text(text, "utf-8", errors="backslashreplace")
    ET.indent(tree := junit(report))
    tree.write(folder / "junit.xml", encoding="utf-8", xml_declaration=True)


def markdown(report: Report) -> list[str]:
    """Return the lines for the summary of a CI job."""
    used = [name for name in STEPS if any(patch.step(name) for patch in report.patches)]
    lines = [f"### {verdict(report)}", "", f"Built with {report.environment}.", ""]
    lines.append("| | patch | " + " | ".join(used) + " |")
    lines.append("|---|---|" + "---|" * len(used))
    for patch in report.patches:
        cells = [_sign(patch.step(name)) for name in used]
        cells = [f"**{cell}**" if cell == "FAIL" else cell for cell in cells]
        lines.append(
            f"| {patch.number} | {patch.subject.replace('|', '&#124;')} | {' | '.join(cells)} |"
        )
    for patch in report.patches:
        for step in patch.failures:
            lines += ["", f"**Patch {patch.number}, {step.name}**: {step.reason}"]
            if step.details:
                lines += ["", "```", *step.details, "```"]
    for note, numbers in _notes(report).items():
        lines += ["", f"Note on {', '.join(map(str, numbers))}: {note}"]
    return lines


def junit(report: Report) -> ET.ElementTree[ET.Element]:
    """Return the document: a suite for each patch, a case for each step."""
    root = ET.Element("testsuites", name="conformance gate")
    for patch in report.patches:
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_xml(f"{patch.number:04} {patch.subject}"),
            tests=str(len(patch.steps)),
            failures=str(len(patch.failures)),
            skipped=str(sum(step.verdict in ("skipped", "not built") for step in patch.steps)),
        )
        for step in patch.steps:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"patch-{patch.number:04}",
                name=step.name,
                time=f"{step.seconds:.3f}",
            )
            text = "\n".join([step.reason, *step.details]).strip()
            if step.verdict == "failed":
                ET.SubElement(case, "failure", message=_xml(step.reason)).text = _xml(text)
            elif step.verdict in ("skipped", "not built"):
                ET.SubElement(case, "skipped", message=_xml(f"{step.verdict}: {step.reason}"))
            elif text:
                ET.SubElement(case, "system-out").text = _xml(text)
    return ET.ElementTree(root)


def _notes(report: Report) -> dict[str, list[int]]:
    """Return each note with the patches that have it."""
    found: dict[str, list[int]] = {}
    for patch in report.patches:
        for step in patch.steps:
            if step.verdict in ("noted", "not built"):
                word = "" if step.verdict == "noted" else "not built: "
                found.setdefault(f"{step.name}: {word}{step.reason}", []).append(patch.number)
    return found


def _failure(one: PatchResult, step: Step) -> list[str]:
    lines = ["", f"patch {one.number}, {step.name}: FAILED: {step.reason}"]
    details = [line for line in step.details if line != step.reason]
    lines += [f"    {line}" for line in details[:_SHOWN]]
    if len(details) > _SHOWN:
        lines.append(f"    ... and {len(details) - _SHOWN} more lines")
    if step.log:
        lines.append(f"    all of it: {step.log}")
    return lines


def _sign(step: Step | None) -> str:
    return _SIGNS[step.verdict] if step else ""


def _column(name: str) -> int:
    return max(len(name), len("not built") if name == "build" else 4)


def _xml(text: str) -> str:
    """Show what XML cannot hold as Python would write it."""
    return _NO_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
