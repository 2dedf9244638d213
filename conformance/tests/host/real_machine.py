# SPDX-License-Identifier: GPL-2.0-only
"""A real machine with two functions: what a run may change on it, and how to run the kit there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KIT = Path(__file__).resolve().parents[3]
PCI = Path("/sys/bus/pci")
JOURNAL = Path("/run/vfio-migration-kit/journal")
FUNCTIONS = os.environ.get("VFIO_KIT_FUNCTIONS", "").split()
DEVICE, PEER = (*FUNCTIONS, "", "")[:2]


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    status: int
    said: str
    results: Path

    @property
    def document(self) -> dict[str, Any]:
        (path,) = self.results.glob("2*/results.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def machine() -> dict[str, Any]:
    """All that a run may change."""
    loaded = Path("/proc/modules").read_text().splitlines()
    physical = (PCI / "devices" / DEVICE / "physfn").resolve()
    return {
        "modules": sorted(line.split()[0] for line in loaded),
        "functions": {name: (driver(name), override(name)) for name in FUNCTIONS},
        "autoprobe": (physical / "sriov_drivers_autoprobe").read_text(),
        "virtual": (physical / "sriov_numvfs").read_text(),
    }


def driver(name: str) -> str | None:
    link = PCI / "devices" / name / "driver"
    return link.resolve().name if link.exists() else None


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def override(name: str) -> str:
    return (PCI / "devices" / name / "driver_override").read_text().strip()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "conformance", *words]


def call(results: Path, *words: str) -> Ended:
    """Run a command of the kit to its end."""
    return shown(results, command(*words, "-o", str(results)))


def shown(results: Path, argv: list[str]) -> Ended:
    """Run a command to its end, and pass on what it prints: the lab sees that the guest lives."""
    said = ""
    with subprocess.Popen(
        argv, cwd=KIT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            said += line
            sys.stdout.write(line)
            sys.stdout.flush()
    return Ended(process.returncode, said, results)


@contextlib.contextmanager
def started(results: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command of the kit in parallel with the test."""
    argv = command(*words, "-o", str(results))
    with subprocess.Popen(
        argv, cwd=KIT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.002)


def some_ended(results: Path) -> bool:
    """Whether some tests of a run have ended."""
    return any(path.read_text().count('"result"') > 3 for path in results.glob("2*/events.jsonl"))


def steps_noted() -> int:
    try:
        return len(JOURNAL.read_text().splitlines())
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def bound(name: str, to: str) -> Iterator[None]:
    """Bind a function by hand, as its user would have."""
    folder = PCI / "devices" / name
    (folder / "driver_override").write_text(to)
    (PCI / "drivers_probe").write_text(name)
    try:
        assert driver(name) == to
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / "driver/unbind").write_text(name)
        (folder / "driver_override").write_text("\n")


@contextlib.contextmanager
def loaded(module: str) -> Iterator[None]:
    there = Path("/sys/module", module).exists()
    subprocess.run(["modprobe", module], check=True)
    try:
        yield
    finally:
        if not there:
            subprocess.run(["rmmod", module], check=True)  # not what it depends on


def check(*words: str) -> list[str]:
    return ["check", "--bdf", DEVICE, "--peer", PEER, *words]
