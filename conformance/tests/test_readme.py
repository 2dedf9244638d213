# SPDX-License-Identifier: GPL-2.0-only
"""The README tells what is so about commands, exit codes and files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.report import Conclusion
from conformance.report import reporter as files

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


@pytest.mark.parametrize("package", ["conformance", "kpatch"])
def test_every_command_is_in_the_readme(package: str) -> None:
    argv = [sys.executable, "-m", package, "--help"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^    ([a-z]\S*)", said.partition("COMMAND\n")[2], re.MULTILINE)
    assert len(commands) > 3
    rows = [line for line in README.splitlines() if line.startswith("| `python -m")]
    listed = " ".join(row.split("|")[1] for row in rows if f"-m {package}" in row)
    assert set(commands) <= set(re.findall(r"[a-z]+", listed))


def test_every_exit_code_is_in_the_readme() -> None:
    section = README.partition("### Exit codes")[2].partition("\n### ")[0]
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert listed == [conclusion.exit_code for conclusion in Conclusion]


def test_every_file_of_a_report_is_in_the_readme() -> None:
    for name in (files.EVENTS_FILE, files.JSON_FILE, files.JUNIT_FILE, files.KTAP_FILE):
        assert f"| `{name}` |" in README
