# SPDX-License-Identifier: GPL-2.0-only
"""Guests in parallel: each trial runs once, even if guests die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from conformance.errors import LabError, QemuError
from conformance.lab.guest.payload import Trial
from conformance.proof.judging import guests, trials
from conformance.proof.judging.trials import Bench, Outcome
from conformance.running import paths

NAMES = [f"t{number}" for number in range(40)]
Guest = Callable[[Bench, Sequence[Trial], Callable[[Outcome], None]], None]


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Guest, int], list[str]]:
    """Return what judges all names in guests of a kind, and returns them in their order."""

    def judge(guest: Guest, parallel: int) -> list[str]:
        monkeypatch.setattr(trials, "one_guest", guest)
        done: list[str] = []
        bench = Bench(None, None, tmp_path, 1)  # type: ignore[arg-type]
        todo = [Trial(name, Path("x.ko"), ()) for name in NAMES]
        guests.run(bench, todo, lambda one: done.append(one.name), parallel)
        return done

    return judge


def good(_bench: Bench, batch: Sequence[Trial], done: Callable[[Outcome], None]) -> None:
    for one in batch:
        done(Outcome(one.name))


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_each_is_judged_once(judged: Callable[[Guest, int], list[str]], parallel: int) -> None:
    done = judged(good, parallel)
    assert sorted(done) == sorted(NAMES)
    assert done == NAMES or parallel > 1


def test_a_guest_takes_no_more_than_it_has_memory_for(
    judged: Callable[[Guest, int], list[str]], tmp_path: Path
) -> None:
    def guest(bench: Bench, batch: Sequence[Trial], done: Callable[[Outcome], None]) -> None:
        with (bench.logs / "batches").open("a") as file:
            file.write(f"{len(batch)}\n")
        good(bench, batch, done)

    judged(guest, 2)
    sizes = [int(line) for path in tmp_path.glob("*/batches") for line in path.open()]
    assert sum(sizes) == len(NAMES)
    assert max(sizes) <= guests.MOST
    assert {path.name for path in tmp_path.iterdir()} == {"guest-0", "guest-1"}


def test_a_guest_that_ends_early_leaves_the_rest_to_the_next(
    judged: Callable[[Guest, int], list[str]],
) -> None:
    done = judged(lambda _bench, batch, done: good(_bench, batch[:3], done), 2)
    assert sorted(done) == sorted(NAMES)


def test_a_trial_during_which_qemu_breaks_is_tried_again(
    judged: Callable[[Guest, int], list[str]], tmp_path: Path
) -> None:
    def guest(bench: Bench, batch: Sequence[Trial], done: Callable[[Outcome], None]) -> None:
        good(bench, batch[:2], done)
        breaks = tmp_path / batch[-1].name
        if len(batch) > 2 and not breaks.exists():
            breaks.touch()
            raise QemuError("It broke.")
        good(bench, batch[2:], done)

    assert judged(guest, 1) == NAMES


def broken(_bench: Bench, _batch: Sequence[Trial], _done: Callable[[Outcome], None]) -> None:
    raise QemuError("It broke.")


def test_a_qemu_that_always_breaks_is_reported(judged: Callable[[Guest, int], list[str]]) -> None:
    with pytest.raises(QemuError, match="It broke"):
        judged(broken, 2)
    assert not multiprocessing.active_children()


def nothing(_bench: Bench, _batch: Sequence[Trial], _done: Callable[[Outcome], None]) -> None:
    pass


def failing(_bench: Bench, _batch: Sequence[Trial], _done: Callable[[Outcome], None]) -> None:
    raise LabError("There is no image.")


@pytest.mark.parametrize(
    # Either guest may be the first that ends.
    ("guest", "said"),
    [(nothing, r"did not begin with t\d+\."), (failing, "no image")],
)
def test_a_lab_that_fails_is_reported(
    judged: Callable[[Guest, int], list[str]], guest: Guest, said: str
) -> None:
    with pytest.raises(LabError, match=said):
        judged(guest, 2)
    assert not multiprocessing.active_children()


SLOW = """
import sys, time
from pathlib import Path
from conformance.proof.judging import guests, trials
from conformance.lab.guest.payload import Trial
from conformance.proof.judging.trials import Bench, Outcome

def slow(bench, batch, done):
    try:
        done(Outcome(batch[0].name))
        time.sleep(60)
    finally:
        (bench.logs / "tidy").touch()

trials.one_guest = slow
todo = [Trial(str(number), Path("x.ko"), ()) for number in range(4)]
bench = Bench(None, None, Path(sys.argv[1]), 1)
guests.run(bench, todo, lambda one: print(one.name, flush=True), 2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_guest_outlives_this_process(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path)],
        cwd=paths.KIT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout
        for _ in range(2):
            process.stdout.readline()
        os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()
        assert process.wait(20)
    tidy = sorted(path.parent.name for path in tmp_path.glob("*/tidy"))
    assert tidy == (["guest-0", "guest-1"] if number == signal.SIGINT else [])
    deadline = time.monotonic() + 5
    while _session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _session(process.pid)


def _session(leader: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == leader and words[0] != "Z":
            found.append(int(path.parent.name))
    return found
