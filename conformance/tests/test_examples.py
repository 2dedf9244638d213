# SPDX-License-Identifier: GPL-2.0-only
"""The examples in docstrings are true; those of kpatch are in its own tests."""

import doctest
import importlib

import pytest

from conformance.tests.test_imports import SOURCES

WITH_EXAMPLES = sorted(
    name
    for name, path in SOURCES.items()
    if name.startswith("conformance.") and ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert (result.failed, result.attempted > 0) == (0, True)


def test_there_are_some() -> None:
    assert len(WITH_EXAMPLES) > 20
