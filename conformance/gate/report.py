# SPDX-License-Identifier: GPL-2.0-only
"""The gate's results for people and for CI: a table, Markdown, JUnit, JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

from conformance.gate.results import STEPS, PatchResult, Report, Step
from conformance.report.text import shortened

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
_LISTED = 100  # ... and in Markdown: a CI takes a summary of a megabyte
_LONGEST = 200_000  # characters of a text in JUnit: libxml2 refuses one of 10 MB
_LONGEST_LINE = 4000  # ... of a message
_SHORT = 500  # ... of a line in Markdown and on the terminal
_WHOLE = "gate.json"
_TICKS = re.compile("`{3,}")


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
    return (
        f"FAILED: {what}; first at patch {first.number} ({_short(first.subject)}): {steps}{more}."
    )


def write(report: Report, folder: Path) -> None:
    """Write gate.json, gate.md and junit.xml into the folder of results."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _WHOLE).write_text(json.dumps(report.data(), indent=2) + "\n", "utf-8")
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
        subject = _short(patch.subject).replace("|", "&#124;")
        lines.append(f"| {patch.number} | {subject} | {' | '.join(cells)} |")
    for patch in report.patches:
        for step in patch.failures:
            lines += ["", f"**Patch {patch.number}, {step.name}**: {_short(step.reason)}"]
            if step.details:
                shown = [_short(line) for line in step.details[:_LISTED]]
                # A patch can bring fences of its own, in its comments.
                fence = max(["```", *(f"{run}`" for run in _TICKS.findall("\n".join(shown)))])
                left = len(step.details) - _LISTED
                shown += [f"... and {left} more lines in {_WHOLE}"] * (left > 0)
                lines += ["", fence, *shown, fence]
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
            name=_xml(_line(f"{patch.number:04} {patch.subject}")),
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
                ET.SubElement(case, "failure", message=_xml(_line(step.reason))).text = _xml(text)
            elif step.verdict in ("skipped", "not built"):
                reason = _line(f"{step.verdict}: {step.reason}")
                ET.SubElement(case, "skipped", message=_xml(reason))
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
    lines = ["", f"patch {one.number}, {step.name}: FAILED: {_short(step.reason)}"]
    details = [line for line in step.details if line != step.reason]
    lines += [f"    {_short(line)}" for line in details[:_SHOWN]]
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
    """Show what XML cannot hold as Python would write it, and cut what servers refuse."""
    text = shortened(text, _LONGEST, _WHOLE)
    return _NO_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _short(text: str) -> str:
    return " ".join(shortened(text, _SHORT, _WHOLE).splitlines())


def _line(text: str) -> str:
    return shortened(text, _LONGEST_LINE, _WHOLE)
