# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of the suite: the tests and their rules, until a file of the kit changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.running import paths, selection
from conformance.running.selection import Collected

TESTS = (Collected("a.py::test_a", ("x.y",)), Collected("b.py::test_b", ("x", "z"), ("boom",)))


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a checkout and a cache of its own; what is collected of it are always TESTS."""
    (tmp_path / "conformance/suite").mkdir(parents=True)
    (tmp_path / "conformance/tests").mkdir()
    (tmp_path / "conformance/suite/test_a.py").write_text("a")
    monkeypatch.setattr(paths, "KIT", tmp_path)
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path / "cache"))
    selection.collected.cache_clear()
    yield tmp_path
    selection.collected.cache_clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often the suite is collected."""
    made: list[int] = []

    def collect() -> tuple[Collected, ...]:
        made.append(1)
        return TESTS

    monkeypatch.setattr(selection, "collect", collect)
    return made


def collected() -> tuple[Collected, ...]:
    """Ask as a new process does."""
    selection.collected.cache_clear()
    return selection.collected()


def test_suite_is_collected_once(kit: Path, calls: list[int]) -> None:
    assert kit.exists()
    assert collected() == TESTS
    assert collected() == TESTS
    assert len(calls) == 1


def test_changed_file_has_it_collected_again(kit: Path, calls: list[int]) -> None:
    collected()
    (kit / "conformance/suite/test_a.py").write_text("ab")
    collected()
    assert len(calls) == 2
    os.utime(kit / "conformance/suite/test_a.py", ns=(1, 1))
    collected()
    assert len(calls) == 3
    (kit / "conformance/suite/conftest.py").write_text("")
    collected()
    assert len(calls) == 4


def test_tests_of_the_kit_itself_do_not_matter(kit: Path, calls: list[int]) -> None:
    collected()
    (kit / "conformance/tests/test_x.py").write_text("x")
    collected()
    assert len(calls) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": 1}', '{"tests": [1]}'])
def test_broken_record_is_made_anew(kit: Path, calls: list[int], text: str) -> None:
    collected()
    (record,) = (kit / "cache/collected").iterdir()
    record.write_text(text)
    assert collected() == TESTS
    assert len(calls) == 2


def test_cache_that_cannot_be_written_hinders_nothing(
    kit: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (kit / "file").write_text("")
    monkeypatch.setenv("VFIO_KIT_CACHE", str(kit / "file"))
    assert collected() == TESTS
    assert len(calls) == 1
