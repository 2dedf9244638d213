# SPDX-License-Identifier: GPL-2.0-only
"""The examples in docstrings are true; those of kpatch are in its own tests."""

import doctest
import importlib
from pathlib import Path

import pytest

import conformance

FOLDER = Path(conformance.__file__).parent


def name_of(path: Path) -> str:
    parts = path.relative_to(FOLDER.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


WITH_EXAMPLES = sorted(
    name_of(path)
    for path in FOLDER.rglob("*.py")
    if "tests" not in path.parts and ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert (result.failed, result.attempted > 0) == (0, True)


def test_there_are_some() -> None:
    assert len(WITH_EXAMPLES) > 20
