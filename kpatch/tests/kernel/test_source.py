# SPDX-License-Identifier: GPL-2.0-only
"""What holds for the sources of kpatch themselves."""

from __future__ import annotations

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import kpatch

FOLDER = Path(kpatch.__file__).parent
SOURCES = sorted(path for path in FOLDER.rglob("*.py") if "tests" not in path.parts)


def calls(path: Path) -> Iterator[str]:
    """Names of what a file calls."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def imports(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def name_of(path: Path) -> str:
    parts = path.relative_to(FOLDER.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_examples_in_docstrings_are_true() -> None:
    modules = map(importlib.import_module, map(name_of, SOURCES))
    assert [each.__name__ for each in modules if doctest.testmod(each).failed] == []


def test_knows_nothing_of_the_suite() -> None:
    for path in SOURCES:
        assert not [each for each in imports(path) if each.startswith("conformance")], path


def test_only_the_command_line_prints_and_exits() -> None:
    for path in SOURCES:
        if path.name != "__main__.py":
            assert not {"print", "sys.exit", "exit"} & set(calls(path)), path.name


def test_programs_are_started_in_one_place() -> None:
    starters = {path.stem for path in SOURCES if {"subprocess.Popen", "os.system"} & {*calls(path)}}
    assert starters == {"processes"}
    runners = {path.stem for path in SOURCES if "subprocess.run" in calls(path)}
    assert runners == {"programs"}


def test_files_stay_small() -> None:
    for path in SOURCES:
        assert len(path.read_text().splitlines()) < 400, path.name
