# SPDX-License-Identifier: GPL-2.0-only
"""Collects the tests of one session alone, by a list of all tests that was made before.

An emulated guest takes milliseconds to collect a test. Where sessions share the suite, each would
collect all of it to find out what is its own.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

_ASKED: Final = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "vfio_walks")
"""Options on which it depends what is collected, in addition to the arguments."""


@dataclass(frozen=True)
class Listed:
    """A test that can be collected: its node id, and the rules it checks."""

    node: str
    rules: tuple[str, ...]


def add_options(group: pytest.OptionGroup) -> None:
    """Declare the options."""
    group.addoption(
        "--vfio-list", metavar="FILE", help="with --collect-only: write the list of tests there"
    )
    group.addoption(
        "--vfio-listed",
        metavar="FILE",
        help="collect the tests of this share alone, by the list in this file, if it is there and "
        "was made with the same arguments",
    )


def write(config: pytest.Config, tests: Iterable[Listed]) -> None:
    """Write the list if it is asked for. Raises :class:`OSError`."""
    if path := config.getoption("--vfio-list"):
        listed = [[test.node, test.rules] for test in tests]
        text = json.dumps({"asked": _asked(config), "tests": listed})
        Path(path).write_text(text, encoding="utf-8")


def read(config: pytest.Config) -> list[Listed]:
    """Return all tests, in their order; nothing if no list fits this session.

    Raises:
        pytest.UsageError: The file is no list.
    """
    path = config.getoption("--vfio-listed")
    if not path or not Path(path).exists():
        return []
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        tests = [Listed(str(node), tuple(map(str, rules))) for node, rules in raw["tests"]]
        return tests if raw["asked"] == _asked(config) else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise pytest.UsageError(f"--vfio-listed: {path} is no list of tests: {error}") from error


def _asked(config: pytest.Config) -> list[Any]:
    """Return what decides which tests are collected, as JSON has it."""
    options = [getattr(config.option, name, None) for name in _ASKED]
    return [list(config.args), *(str(value or "") for value in options)]


class Only:
    """The hooks that leave out all other tests.

    Args:
        nodes: Node ids of the tests to collect.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(nodes)
        self._files = {node.partition("::")[0] for node in self._nodes}
        self._functions = {node.partition("[")[0] for node in self._nodes}

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Ignore a file of tests that has none of them."""
        if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
            return None
        name = collection_path.relative_to(config.rootpath).as_posix()
        return name not in self._files or None

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(
        self, collector: pytest.Collector, name: str
    ) -> list[pytest.Item] | None:
        """Make nothing of a function that is none of them."""
        if not isinstance(collector, pytest.Module) or not name.startswith("test_"):
            return None
        return None if f"{collector.nodeid}::{name}" in self._functions else []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep those parameters of a function that are asked for; all must have been found."""
        items[:] = [item for item in items if item.nodeid in self._nodes]
        if lacking := sorted(self._nodes.difference(item.nodeid for item in items)):
            raise pytest.UsageError(
                f"--vfio-listed: {len(lacking)} tests of the list are not in the suite, such as "
                f"{lacking[0]}: it is the list of another suite"
            )
