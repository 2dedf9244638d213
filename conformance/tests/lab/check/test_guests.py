# SPDX-License-Identifier: GPL-2.0-only
"""Several guests: how many, and what comes of the events of all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conformance.errors import GuestHung, UsageError
from conformance.events.kinds import (
    Agent,
    AgentError,
    Event,
    Finish,
    Output,
    Phase,
    Session,
    Start,
)
from conformance.lab.check import guests
from conformance.lab.check.merged import Merged
from conformance.lab.check.prepare import Options, Prepared
from conformance.lab.guest.guest import Guest
from conformance.running.history import History

SESSION = Session(2, {}, None, {}, 1, ())
DONE = Agent(Phase.DONE, "")


@dataclass
class Scripted:
    """A guest that says what it is told to."""

    script: Sequence[Event]
    orders: list[object]

    def __post_init__(self) -> None:
        self.left = list(self.script)
        self.pipe = os.pipe()
        os.write(self.pipe[1], b"x")

    @property
    def descriptors(self) -> tuple[int, int]:
        return (self.pipe[0], self.pipe[0])

    def order(self, name: str, **details: object) -> None:
        self.orders.append((name, details["share"]))

    def poll(self) -> Event | None:
        if not self.left:
            os.set_blocking(self.pipe[0], False)
            os.read(self.pipe[0], 1) if self.pipe[0] and self.script else None
            self.script = ()
        return self.left.pop(0) if self.left else None

    def hung(self, quiet: float) -> GuestHung:
        return GuestHung(f"{quiet}", ())


def merge(
    tmp_path: Path,
    *scripts: Sequence[Event],
    quiet: float = 5,
    say: Callable[[str], None] = print,
) -> Iterator[Event]:
    orders: list[object] = []
    (tmp_path / "guest-2").mkdir(exist_ok=True)
    made = [cast(Guest, Scripted(script, orders)) for script in scripts]
    yield from Merged(len(made), quiet, tmp_path, say).events(made)
    assert orders == [("check", f"{n}/{len(made)}") for n in range(1, len(made) + 1)]


def story(status: int, *, text: str = "", duration: float = 1.0) -> list[Event]:
    return [
        Agent(Phase.MODULE, "x"),
        SESSION,
        Finish(status, duration),
        Output(text),
        Agent(Phase.TESTS_ENDED, str(status)),
        Agent(Phase.UNLOAD, ""),
        DONE,
    ]


def test_one_guest_is_passed_on_as_it_is(tmp_path: Path) -> None:
    said = story(0, text="one")
    found = list(merge(tmp_path, said))
    assert found == [said[0], said[1], said[3], said[2], *said[4:]]


@pytest.mark.parametrize(
    ("statuses", "worst"), [((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((1, 3), 3), ((2, 1), 2)]
)
def test_end_is_the_worst_of_all(tmp_path: Path, statuses: tuple[int, int], worst: int) -> None:
    one = story(statuses[0], text="guest 1")
    other = story(statuses[1], text="guest 2", duration=2.0)
    found = list(merge(tmp_path, one, other))
    assert found == [
        Agent(Phase.MODULE, "x"),
        replace(SESSION, workers=2),
        Output("guest 2" if statuses[1] == 3 else "guest 1"),
        Finish(worst, 2.0),
        Agent(Phase.TESTS_ENDED, str(worst)),
        Agent(Phase.UNLOAD, ""),
        DONE,
    ]
    assert (tmp_path / "guest-2/pytest.log").read_text() == "guest 2"


def test_an_agent_that_gives_up_is_heard_once(tmp_path: Path) -> None:
    refused: list[Event] = [AgentError(Phase.MODULE, "no"), DONE]
    assert list(merge(tmp_path, refused, refused)) == refused


def test_a_guest_that_hangs_does_not_hinder_the_other(tmp_path: Path) -> None:
    found: list[Event] = []
    with pytest.raises(GuestHung):
        found.extend(merge(tmp_path, [SESSION, Start("a", ())], story(0), quiet=0.2))
    assert Start("a", ()) in found
    assert not any(isinstance(event, Finish) for event in found)


@pytest.mark.parametrize("lost", [1, 2])
def test_what_the_other_printed_outlives_a_lost_guest(tmp_path: Path, lost: int) -> None:
    scripts: list[list[Event]] = [story(0, text="whole"), story(0, text="whole")]
    scripts[lost - 1] = [SESSION, Start("a", ())]
    found: list[Event] = []
    said: list[str] = []
    with pytest.raises(GuestHung):
        found.extend(merge(tmp_path, *scripts, quiet=0.2, say=said.append))
    if lost == 1:
        assert (tmp_path / "guest-2/pytest.log").read_text() == "whole"
    else:
        assert Output("whole") in found
    (line,) = said
    assert line.startswith(f"Guest {lost} of 2 is lost")
    assert ("guest-2" in line) is (lost == 2)


def prepared(memory: int = 1024, config: Sequence[str] = ()) -> Prepared:
    lab: Any = SimpleNamespace(
        kernel=SimpleNamespace(tree=SimpleNamespace(config=config)),
        machine=SimpleNamespace(memory=memory),
    )
    return Prepared(lab, None, {})


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr(guests, "_memory", lambda: 8 << 30)
    lengths = {"test_a.py::test_long": 30.0, "test_a.py::test_it[1]": 1.0}
    return History(tmp_path / "history", lengths)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(guests=0), 3),
        (Options(guests=3), 3),
        (Options(), 1),
        (Options(guests=0, pytest_args=("-x",)), 1),
        (Options(guests=0, pytest_args=("--maxfail=3",)), 1),
        (Options(guests=0, stranger="mtty"), 1),
        (Options(guests=0, stranger="qat"), 3),
        (Options(guests=0, tests=("suite/test_a.py::test_long",)), 3),
        (Options(guests=0, tests=("suite/test_a.py::test_it",)), 1),
        (Options(guests=0, tests=("suite/test_new.py::test_it",)), 4),
    ],
)
def test_as_many_guests_as_pay_off(history: History, options: Options, expected: int) -> None:
    assert guests.number(options, prepared(), history) == expected


def test_guests_have_room(history: History) -> None:
    assert guests.number(Options(guests=0), prepared(4096), history) == 2
    history.lengths.clear()
    assert guests.number(Options(guests=0), prepared(), history) == 4
    assert guests.number(Options(guests=0), prepared(1 << 20), history) == 1


@pytest.mark.parametrize("option", ["DEBUG_KMEMLEAK", "GCOV_KERNEL"])
def test_what_is_counted_over_a_whole_run_is_counted_by_one(history: History, option: str) -> None:
    kernel = prepared(config=[option])
    assert guests.number(Options(guests=0), kernel, history) == 1
    with pytest.raises(UsageError, match="--guests 1"):
        guests.number(Options(guests=2), kernel, history)
