# SPDX-License-Identifier: GPL-2.0-only
"""A run after each save of a file that counts, and none of any other."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from conformance.running.watch import SOURCES, counts

SCRIPT = """
import sys
from pathlib import Path
from conformance.running.watch import watch
place = Path(sys.argv[1])
run = f"import os, time; print('run', os.getpid(), flush=True); time.sleep({sys.argv[2]})"
watch([sys.executable, "-c", run], [place], lambda line: print(line, flush=True))
"""


@contextlib.contextmanager
def watching(place: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT, str(place), str(seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str], begin: str) -> str:
    """Return the next line that begins so."""
    out: IO[str] | None = process.stdout
    assert out
    return next(one for one in out if one.startswith(begin)).strip()


def test_each_save_is_followed_by_a_run(tmp_path: Path) -> None:
    with watching(tmp_path, 0) as process:
        first = line(process, "run")
        line(process, "waiting")
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / ".main.c.swp").write_text("x")
        time.sleep(0.5)
        (tmp_path / "main.c.j2").write_text("x")
        assert line(process, "==") == "== changed: main.c.j2"
        assert line(process, "run") != first


def test_save_ends_a_run_that_goes_on_and_ctrl_c_the_last_one(tmp_path: Path) -> None:
    with watching(tmp_path, 600) as process:
        pids = [int(line(process, "run").split()[1])]
        time.sleep(0.5)
        (tmp_path / "new.toml").write_text("x")
        pids.append(int(line(process, "run").split()[1]))
        assert not Path(f"/proc/{pids[0]}").exists()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert not Path(f"/proc/{pids[1]}").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/main.c.j2", True),
        ("a/new.toml", True),
        ("a/b/x.c", True),
        ("one.ko", True),
        ("two.ko", False),
        ("a/.x.c", False),
        ("a/x.c~", False),
        ("b/x.c", False),
    ],
)
def test_what_counts(tmp_path: Path, name: str, expected: bool) -> None:
    places = [tmp_path / "a", tmp_path / "one.ko"]
    assert counts(tmp_path / name, places) is expected


def test_places_are_there() -> None:
    assert all(place.is_dir() for place in SOURCES)
