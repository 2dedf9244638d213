# SPDX-License-Identifier: GPL-2.0-only
"""The documents are right about commands, exit codes, files, imports and links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.report import Conclusion
from conformance.report import reporter as files
from conformance.tests.test_imports import ALLOWED

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text()
README_LINES = 200


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("package", ["conformance", "kpatch"])
def test_every_command_is_listed(package: str) -> None:
    argv = [sys.executable, "-m", package, "--help"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^    ([a-z]\S*)", said.partition("COMMAND\n")[2], re.MULTILINE)
    assert len(commands) > 3
    rows = [line for line in page("commands.md").splitlines() if line.startswith("| `python -m")]
    listed = " ".join(row.split("|")[1] for row in rows if f"-m {package}" in row)
    assert set(commands) <= set(re.findall(r"[a-z]+", listed))


def test_every_exit_code_is_in_the_readme() -> None:
    section = README.partition("### Exit codes")[2].partition("\n## ")[0]
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert listed == [conclusion.exit_code for conclusion in Conclusion]


def test_every_file_of_a_report_is_listed() -> None:
    names = [getattr(files, name) for name in dir(files) if name.endswith("_FILE")]
    assert len(names) >= 5
    for name in names:
        assert f"| `{name}` |" in page("results.md")


def test_the_table_of_imports_is_the_one_that_is_enforced() -> None:
    rows = [f"| `{room}` | {may or 'nothing'} |" for room, may in ALLOWED.items()]
    printed = [line for line in page("architecture.md").splitlines() if line in rows]
    assert printed == rows


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= README_LINES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_named_files_exist(path: Path) -> None:
    names = re.findall(r"`((?:conformance|kpatch|vm-images)/[\w./-]+)`", path.read_text())
    real = [name for name in names if not re.search(r"NAME|SUBJECT|TOPIC", name)]  # else a pattern
    assert [name for name in real if not (ROOT / name).exists()] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", README))
    assert linked == {f"docs/{path.name}" for path in PAGES if path.parent.name == "docs"}
