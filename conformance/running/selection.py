# SPDX-License-Identifier: GPL-2.0-only
"""Which tests check which rules, by collecting the suite on this host."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import platform
from collections.abc import Collection, Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest

from conformance import requirements
from conformance.errors import LabError, UsageError
from conformance.report import ReportError
from conformance.report.files import write_whole
from conformance.running import paths

SUITE = "conformance/suite"
"""The suite, below the checkout and below the kit in the guest."""

_OTHERS = ("pyproject.toml", "tox.ini")
"""What else of the checkout pytest reads."""


@dataclass(frozen=True)
class Collected:
    """A test of the suite.

    Attributes:
        name: Its name, with the path below the checkout.
        rules: The rules it is of.
        requests: Of `--vfio-fatal`, those that it is about: drivers are known to die of them.
    """

    name: str
    rules: tuple[str, ...]
    requests: tuple[str, ...] = ()


class _Collector:
    """Takes what pytest collects."""

    def __init__(self) -> None:
        self.tests: list[Collected] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note each test."""
        for item in session.items:
            rules, requests = (
                tuple(dict.fromkeys(word for mark in item.iter_markers(name) for word in mark.args))
                for name in ("rule", "fatal")
            )
            self.tests.append(Collected(item.nodeid, rules, requests))


@functools.cache
def collected() -> tuple[Collected, ...]:
    """Return the tests, in the order of the suite.

    They are collected once a process, and once for all as long as no file of the kit changes.

    Raises:
        LabError: The suite cannot be collected.
    """
    state, record = _state(), _record()
    found = _kept(record, state)
    if found is None:
        found = collect()
        tests = [astuple(test) for test in found]
        with contextlib.suppress(ReportError):  # it only makes the next run quicker
            write_whole(record, json.dumps({"state": state, "tests": tests}) + "\n")
    return found


def collect() -> tuple[Collected, ...]:
    """Collect the suite, whatever was kept of it.

    Raises:
        LabError: It cannot be collected.
    """
    collector = _Collector()
    said = io.StringIO()
    arguments = ["-p", "conformance.plugin", "-p", "no:cacheprovider", "--collect-only", "-q"]
    arguments += ["-p", "no:unraisableexception"]  # it would only collect garbage, for a while
    arguments += ["--rootdir", str(paths.KIT), str(paths.KIT / SUITE)]
    with contextlib.redirect_stdout(said):
        status = pytest.main(arguments, plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise LabError(f"pytest cannot collect the suite:\n{said.getvalue()}")
    return tuple(collector.tests)


def _record() -> Path:
    """Return the file that keeps what was collected of this checkout."""
    name = hashlib.sha256(str(paths.KIT).encode()).hexdigest()[:12]
    return paths.cache() / "collected" / f"{name}.json"


def _state() -> str:
    """Return what tells a checkout, and what collects it, from how they were before."""
    digest = hashlib.sha256(f"{platform.python_version()} {pytest.__version__}".encode())
    for path in _files():
        status = path.stat()
        digest.update(f"\0{path}\0{status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    """Yield the files that the suite is collected from: all of the kit but its own tests."""
    yield from (path for name in _OTHERS if (path := paths.KIT / name).exists())
    for folder in sorted((paths.KIT / "conformance").iterdir()):
        if folder.name != "tests":
            found = folder.rglob("*") if folder.is_dir() else [folder]
            yield from sorted(one for one in found if one.suffix in (".py", ".toml", ".json"))


def _kept(record: Path, state: str) -> tuple[Collected, ...] | None:
    """Return what was collected before in this state; None if nothing was."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        raw = json.loads(record.read_text("utf-8"))
        if raw["state"] == state:
            return tuple(
                Collected(str(name), tuple(rules), tuple(requests))
                for name, rules, requests in raw["tests"]
            )
    return None


def rules_by_test() -> dict[str, tuple[str, ...]]:
    """Return the rules of each test, in the order of the suite.

    Raises:
        LabError: The suite cannot be collected.
    """
    return {test.name: test.rules for test in collected()}


def about(requests: Collection[str]) -> dict[str, str]:
    """Return the tests that are about some requests of which drivers die, each with its request.

    Raises:
        LabError: The suite cannot be collected.
    """
    return {
        test.name: request
        for test in collected()
        for request in test.requests
        if request in requests
    }


def tests_by_rule() -> dict[str, list[str]]:
    """Return the tests of each rule that has any.

    Raises:
        LabError: The suite cannot be collected.
    """
    found: dict[str, list[str]] = {}
    for test, rules in rules_by_test().items():
        for rule in rules:
            found.setdefault(rule, []).append(test)
    return found


def of_rules(wanted: Iterable[str]) -> list[str]:
    """Return the tests of some rules.

    Args:
        wanted: Rules, or what several rules begin with, up to a dot.

    Raises:
        UsageError: There is no such rule, or no test for it.
    """
    known = requirements.load()
    names = list(wanted)
    for name in names:
        if not any(requirements.is_below(rule, name) for rule in known):
            raise UsageError(f"There is no rule {name!r}. `python3 -m conformance list` has all.")
    every = rules_by_test()
    for name in names:
        if not any(requirements.is_below(rule, name) for rules in every.values() for rule in rules):
            raise UsageError(f"No test of the suite checks {name!r}.")
    return [
        test
        for test, rules in every.items()
        if any(requirements.is_below(rule, name) for rule in rules for name in names)
    ]
