# SPDX-License-Identifier: GPL-2.0-only
"""What the examples for CI in docs/gate.md call is there, and leaves what they take from it.

`conformance/tests/labs/test_forges.py` executes them by local runners.
"""

import re
import shlex
from pathlib import Path

import pytest

from conformance.cli.arguments import parse
from conformance.gate import report
from conformance.gate.results import Report
from conformance.running import paths

EXAMPLES = re.findall(r"```yaml\n(.*?)```", (paths.KIT / "docs/gate.md").read_text(), re.S)
_FILES = re.compile(r"(?<!\S)gate/(\w[\w.]*)")


def commands(example: str) -> list[list[str]]:
    """Return the words of each command of the kit that a script calls."""
    text = re.sub(r"\$\{\{.*?\}\}", "x", example.replace("\\\n", " "))
    return [shlex.split(line) for line in re.findall(r"python -m conformance (.*)", text)]


def test_there_is_one_for_each_forge() -> None:
    assert ["jobs:" in EXAMPLES[0], "script:" in EXAMPLES[1]] == [True, True]
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("example", EXAMPLES, ids=["github", "gitlab"])
def test_the_command_is_understood(example: str) -> None:
    ((command, *words),) = commands(example)
    arguments = parse([command, *words])
    assert command == "gate"
    assert (arguments.tree, arguments.results) == (Path("../linux"), Path("../gate"))


@pytest.mark.parametrize("example", EXAMPLES, ids=["github", "gitlab"])
def test_what_is_taken_is_left(example: str, tmp_path: Path) -> None:
    report.write(Report("x", "y", "6.12", "z"), tmp_path)
    taken = set(_FILES.findall(example))
    assert taken
    assert taken <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("example", EXAMPLES, ids=["github", "gitlab"])
def test_the_kit_is_set_up_by_a_target_of_make(example: str) -> None:
    (target,) = re.findall(r"make -C kit (\w+)", example)
    assert re.search(rf"^{target}:", (paths.KIT / "Makefile").read_text(), re.M)
