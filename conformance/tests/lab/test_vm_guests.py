# SPDX-License-Identifier: GPL-2.0-only
"""Two real guests that share the tests: one of them is killed, or the user interrupts both.

Needs the image trixie in the cache (`python -m conformance image trixie`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.lab.image import definitions, image
from conformance.lab.image.image import Image
from conformance.running import paths

TRIXIE = definitions.image("trixie")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Image(TRIXIE, image.place(TRIXIE)).exists(),
        reason="the image trixie is not in the cache (python -m conformance image trixie)",
    ),
]


@contextmanager
def checking(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Check the emulated device with two guests, in a session of its own."""
    command = [sys.executable, "-m", "conformance", "check", "emulated", "--protocol", "v1"]
    command += ["--guests", "2", "--rule", "state", "--results", str(tmp_path / "results")]
    (tmp_path / "t").mkdir()
    env = {**os.environ, "TMPDIR": str(tmp_path / "t")}
    with subprocess.Popen(
        command,
        cwd=paths.KIT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def events(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind that the run has recorded by now."""
    found = []
    for path in (tmp_path / "results").glob("2*/events.jsonl"):
        for line in path.read_text().split("\n")[:-1]:
            event = json.loads(line)
            found += [event] if event["event"] == kind else []
    return found


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


def ours(tmp_path: Path, program: str = "") -> dict[int, str]:
    """Return the processes of a run with their command lines, which name its folders."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(tmp_path) in words and words.startswith(program):
            found[int(path.parent.name)] = words
    return found


def qemu(tmp_path: Path, *, second: bool) -> int:
    """Return the process of one guest's QEMU, which writes its console to a folder of its own."""
    all_of_them = ours(tmp_path, "qemu-system").items()
    found = [pid for pid, words in all_of_them if ("guest-2/console.log" in words) is second]
    assert len(found) == 1, all_of_them
    return found[0]


def assert_clean(tmp_path: Path) -> None:
    """Assert that no process, folder or mount of the run is left."""
    wait(lambda: not ours(tmp_path), 5, "end of the run's processes")
    assert list((tmp_path / "t").iterdir()) == []
    assert "vfio-kit" not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
def test_a_killed_guest_loses_nothing_of_the_other(tmp_path: Path, *, second: bool) -> None:
    with checking(tmp_path) as process:
        wait(lambda: len(events(tmp_path, "result")) > 20, 200, "results")
        os.kill(qemu(tmp_path, second=second), signal.SIGKILL)
        killed = len(events(tmp_path, "result"))
        said = " ".join(process.communicate(timeout=300)[0].split())
    assert process.returncode == 4, said
    assert "QEMU ended with status" in said
    assert f"Guest {1 + second} of 2 is lost" in said
    document = json.loads((tmp_path / "results/latest/results.json").read_text())
    assert document["verdict"]["conclusion"] == "lab-failed"
    results = {event["id"]: event["outcome"] for event in events(tmp_path, "result")}
    assert len(results) > killed, "the other guest has gone on"
    shown = {test["id"]: test["outcome"] for test in document["tests"]}
    assert {name: shown[name] for name in results} == results
    lost = [name for name, outcome in shown.items() if name not in results]
    assert lost
    assert {shown[name] for name in lost} <= {"running", "not-run"}
    survivor = tmp_path / "results/latest" / ("" if second else "guest-2") / "pytest.log"
    assert survivor.exists(), "the other guest has come to the end of its share"
    assert_clean(tmp_path)


def test_interrupt_ends_both(tmp_path: Path) -> None:
    with checking(tmp_path) as process:
        wait(lambda: len(events(tmp_path, "result")) > 20, 200, "results")
        assert qemu(tmp_path, second=False) != qemu(tmp_path, second=True)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "interrupted" in said
    results = events(tmp_path, "result")
    document = json.loads((tmp_path / "results/latest/results.json").read_text())
    assert document["verdict"]["conclusion"] == "interrupted"
    assert document["counts"]["tests"]["passed"] == len(
        [one for one in results if one["outcome"] == "passed"]
    )
    assert_clean(tmp_path)
