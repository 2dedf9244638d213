# SPDX-License-Identifier: GPL-2.0-only
"""Sessions that collect only what is theirs, by a list of all tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.tests.plugin.inner import Inner

pytest_plugins = ["pytester"]

SOURCE = """
@pytest.mark.parametrize("number", range(6))
@rule("state.default")
def test_many(number): pass

@rule("region.type", "state.default")
def test_one(): pass
"""
OTHER = """
import pytest

@pytest.mark.rule("state.default")
def test_other(): pass

@pytest.mark.rule("state.default")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_numbers(number): pass
"""


@pytest.fixture
def listed(inner: Inner, tmp_path: Path) -> Path:
    """The list of two files of tests."""
    (inner.pytester.path / "test_other.py").write_text(OTHER)
    path = tmp_path / "collected.json"
    assert inner.run(SOURCE, "--collect-only", f"--vfio-list={path}").ret == 0
    return path


def share(inner: Inner, number: int, *options: str) -> tuple[pytest.RunResult, int]:
    """Run one of two shares; return how many tests were collected, too."""
    result = inner.run(SOURCE, f"--vfio-share={number}/2", "--vfio-seed=1", *options)
    lines = [line for line in result.outlines if line.startswith(("collected", "collecting"))]
    return result, int(lines[-1].split("collected ")[1].split()[0])


def test_a_session_collects_what_is_its_own(inner: Inner, listed: Path) -> None:
    found = []
    for number in (1, 2):
        whole = share(inner, number)[0], inner.events[0], inner.results
        result, collected = share(inner, number, f"--vfio-listed={listed}")
        assert result.ret == whole[0].ret == 0
        assert inner.events[0] == whole[1]
        assert inner.events[0]["collected"] == 11
        assert [one["id"] for one in inner.results] == [one["id"] for one in whole[2]]
        assert collected < 11
        found += [one["id"] for one in inner.results]
    assert len(found) == len(set(found)) == 11


@pytest.mark.parametrize("option", ["-k=one", "--deselect=test_it.py::test_one"])
def test_a_list_of_something_else_is_not_used(inner: Inner, listed: Path, option: str) -> None:
    words = option.split("=", 1) if option.startswith("-k") else [option]
    assert share(inner, 1, f"--vfio-listed={listed}", *words)[1] == 11


def test_a_list_of_another_suite_is_found_out(inner: Inner, listed: Path) -> None:
    text = listed.read_text().replace("test_other.py::test_other", "test_other.py::test_gone")
    listed.write_text(text)
    results = [inner.run(SOURCE, f"--vfio-share={n}/2", f"--vfio-listed={listed}") for n in (1, 2)]
    assert sorted(one.ret for one in results) == [0, pytest.ExitCode.USAGE_ERROR]
    assert "test_gone" in "\n".join(line for one in results for line in one.errlines)


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"tests": [1]}), json.dumps({"tests": []})])
def test_what_is_no_list_is_refused(inner: Inner, tmp_path: Path, text: str) -> None:
    path = tmp_path / "collected.json"
    path.write_text(text)
    result = inner.run(SOURCE, "--vfio-share=1/2", f"--vfio-listed={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is no list of tests" in "\n".join([*result.errlines, *result.outlines])
