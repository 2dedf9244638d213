# SPDX-License-Identifier: GPL-2.0-only
"""The states that a monitor steps through, and the steps that the model has."""

from __future__ import annotations

from itertools import product
from typing import TypeVar
from unittest.mock import Mock

import pytest

from conformance.migration.errors import StateError
from conformance.migration.v1.vmm import Vmm as OldVmm
from conformance.migration.v2.states import State
from conformance.migration.v2.vmm import Vmm
from conformance.uapi import constants as c
from conformance.vfio import features
from conformance.vfio.data_file import DataFile
from conformance.vmm.inside.order import (
    ACCESSES,
    STEPS,
    Session,
    foreign,
    states_of,
    unknown,
)


def test_states_are_read_from_the_trace_of_every_version() -> None:
    trace = (
        "vfio_migration_set_state  (0000:01:10.0) new state PRE_COPY, recover state RUNNING\n"
        "vfio_save_setup  (0000:01:10.0) data buffer size 65536\n"
        "vfio_migration_set_state  (emulated_vfio.0) state STOP_COPY\n"
    )
    assert states_of(trace) == ["PRE_COPY", "STOP_COPY"]
    refused = (
        "vfio_migration_set_state  (f) new state PRE_COPY, recover state RUNNING\n"
        "f: Failed setting device state to PRE_COPY. Setting device in recover state RUNNING\n"
        "vfio_migration_set_state  (f) new state STOP, recover state ERROR\n"
    )
    assert states_of(refused) == ["PRE_COPY", "RUNNING", "STOP"]
    assert not unknown(states_of(refused))


def test_data_moved_where_the_model_does_not_is_a_foreign_step() -> None:
    old = (
        "vfio_migration_set_state  (f) state 3\nvfio_save_buffer  (f) Offset 0x0 size 0x20\n"
        "vfio_migration_set_state  (f) state 1\nvfio_save_cleanup  (f)\n"
    )
    assert foreign(old, "v1") == ["read in PRE_COPY"]  # pending_bytes comes first
    old = old.replace("vfio_save_b", "vfio_update_pending  (f) pending 0x20\nvfio_save_b")
    assert foreign(old, "v1") == []
    assert foreign(old + "vfio_save_buffer  (f) Offset 0x0 size 0x20\n", "v1") == [
        "read in RUNNING"
    ]
    new = "vfio_migration_set_state  (f) new state RESUMING, recover state RUNNING\n"
    assert foreign(new + "vfio_load_state_device_data  (f) size 4 ret 0\n", "v2") == []
    assert foreign(new + "vfio_save_block  (f) data_size 4\n", "v2") == ["read in RESUMING"]


STATE = "vfio_migration_set_state  (f) new state {}, recover state ERROR\n"
READ, CLOSE = "vfio_save_block  (f) data_size 4\n", "vfio_save_cleanup  (f)\n"
WRITE, CLOSE_LOAD = "vfio_load_state_device_data  (f) size 4 ret 0\n", "vfio_load_cleanup  (f)\n"
SETUP = "vfio_save_setup  (f) data buffer size 288\n"
ASK = "vfio_state_pending_exact  (f) precopy 1 postcopy 0 stopcopy size 4\n"


@pytest.mark.parametrize(
    ("trace", "found"),
    [
        ([STATE.format("STOP_COPY"), READ, READ, STATE.format("STOP"), CLOSE, CLOSE], []),
        ([STATE.format("STOP"), SETUP, CLOSE], []),  # there is no file
        ([STATE.format("PRE_COPY"), SETUP, READ, ASK, READ, CLOSE], []),
        ([STATE.format("PRE_COPY"), SETUP, CLOSE, READ], ["read in PRE_COPY"]),
        ([STATE.format("STOP_COPY"), READ, ASK], ["ask in STOP_COPY after read"]),
        ([STATE.format("STOP_COPY"), READ, CLOSE], ["close in STOP_COPY after read"]),
        ([STATE.format("RESUMING"), WRITE, STATE.format("RUNNING"), CLOSE_LOAD], []),
        (
            [STATE.format("RESUMING"), WRITE, STATE.format("STOP"), CLOSE_LOAD],
            ["close in STOP after write"],
        ),
    ],
)
def test_accesses_have_an_order(trace: list[str], found: list[str]) -> None:
    assert foreign("".join(trace), "v2") == found


def test_a_state_that_was_refused_opens_no_file() -> None:
    running = "vfio_migration_set_device_state  (f) state RUNNING\n"
    assert foreign(running + STATE.format("PRE_COPY") + CLOSE, "v2") == []
    saving = "vfio_migration_set_device_state  (f) state PRE_COPY\n"
    reset = "vfio_pci_reset  (f)\n"
    assert foreign(saving + CLOSE, "v2") == ["close in PRE_COPY"]
    assert foreign(saving + reset + READ, "v2") == ["read in RUNNING"]
    again = saving + ASK + reset + saving  # it keeps the first file
    assert foreign(again + CLOSE, "v2") == []


SAVING = (State.PRE_COPY, State.PRE_COPY_P2P, State.STOP_COPY)
T = TypeVar("T")


class Steps:
    """Stands for a function: takes every state, and keeps the steps."""

    bdf = "none"

    def __init__(self, taken: set[tuple[str, str]], moved: set[tuple[str, str, str]]) -> None:
        self.now, self._taken, self._moved = State.RUNNING, taken, moved
        self.session, self.stale = Session(), False

    def set_state(self, _: object, new: int) -> DataFile | None:
        self._taken.add((self.now.name, State(new).name))
        opens = (new in SAVING and self.now not in SAVING) or new == State.RESUMING
        self.now = State(new)
        self.session.enter(self.now.name)
        return self._file() if opens else None

    def _file(self) -> Mock:
        file = Mock(DataFile)
        data = [b"", b"more", b"data"]  # from the last to the first
        file.write.side_effect = lambda data: self.note("write", len(data))
        file.read.side_effect = lambda _: self.note("read", data.pop() if data else b"")
        file.precopy_info.side_effect = lambda: self.note("ask", Mock(initial_bytes=0))
        file.close.side_effect = lambda: self.note("close", None)
        return file

    def note(self, access: str, answer: T) -> T:
        if not self.stale:
            self._moved.add(self.session.access(access))
        return answer


def test_the_known_steps_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[tuple[str, str]] = set()
    moved: set[tuple[str, str, str]] = set()
    flags = 0

    def monitor() -> tuple[Vmm, Steps]:
        steps = Steps(taken, moved)
        monkeypatch.setattr(features, "set_state", steps.set_state)
        monkeypatch.setattr(features, "migration_flags", lambda _: flags)
        monkeypatch.setattr(features, "data_size", lambda _: steps.note("ask", 4096))
        return Vmm(steps), steps  # type: ignore[arg-type]

    precopies = ((0, 0), (c.VFIO_MIGRATION_PRE_COPY, 0), (c.VFIO_MIGRATION_PRE_COPY, 2))
    for (precopy, reads), p2p in product(precopies, (0, c.VFIO_MIGRATION_P2P)):
        flags = c.VFIO_MIGRATION_STOP_COPY | precopy | p2p
        phases = ["setup", "pending", *["iterate"] * reads, "stop", "complete", "cleanup"]
        for end, then in product(range(1, len(phases) + 1), ("give_up", "start")):
            saved, _ = monitor()
            for phase in phases[:end]:
                getattr(saved, phase)()
            # The machine starts where it was stopped.
            if then == "give_up" or phases[end - 1] in ("stop", "cleanup"):
                getattr(saved, then)()
        monitor()[0].save()
        stands, _ = monitor()
        for phase in ("stop", "setup", "pending", "complete", "cleanup"):
            getattr(stands, phase)()
        if precopy:
            reset, function = monitor()
            for phase in ("setup", "iterate"):
                getattr(reset, phase)()
            function.now = State.RUNNING  # unknown to the monitor
            function.session.enter("RUNNING")
            reset.pending()
            function.stale = True
            with pytest.raises(StateError, match="out of sync"):
                reset.stop()
        for stopped, keep, stream in product((False, True), (False, True), ([], [b"a", b"b"])):
            if keep and (stopped or not stream):
                continue  # a later monitor does so with a machine that starts at once
            loaded, _ = monitor()
            if stopped:
                loaded.stop()
            loaded.load(stream, keep=keep)
            loaded.start()
            loaded.close()
    assert taken == STEPS["v2"]
    assert moved == ACCESSES["v2"]


class OldSteps:
    """Stands for the migration region of a function: takes every state, and keeps the steps."""

    data_offset, data_size, size = 0x1000, 4, 0x2000

    def __init__(self, taken: set[tuple[str, str]], moved: set[tuple[str, str, str]]) -> None:
        self.state, self._taken, self._moved, self.device = 1, taken, moved, Mock()
        self.session, self._pending = Session(), 0

    def set_state(self, new: int) -> None:
        self._taken.add((_name(self.state), _name(new)))
        self.state, self._pending = new, 3
        self.session.enter(_name(new))

    @property
    def pending_bytes(self) -> int:
        self.note("ask")
        self._pending -= 1
        return max(self._pending, 0)

    def set_data_size(self, _: int) -> None:
        self.note("write")

    def read(self, _: int, size: int) -> bytes:
        self.note("read")
        return bytes(size)

    def write(self, _: int, data: bytes) -> None:
        """Take data; what counts is that its size was written."""

    def note(self, access: str) -> None:
        self._moved.add(self.session.access(access))


def _name(state: int) -> str:
    (found,) = states_of(f"vfio_migration_set_state  (f) state {state}")
    return found


def _map(monitor: OldVmm) -> None:
    monitor._mover = monitor.migration  # type: ignore[assignment]


def test_the_known_steps_of_v1_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[tuple[str, str]] = set()
    moved: set[tuple[str, str, str]] = set()
    monkeypatch.setattr(OldVmm, "_map", _map)

    def monitor() -> OldVmm:
        return OldVmm(OldSteps(taken, moved))  # type: ignore[arg-type]

    phases = ("start", "pending", "iterate", "pause", "complete")
    for end, then in product(range(len(phases) + 1), ("give_up", "run")):
        saved = monitor()
        for phase in phases[:end]:
            getattr(saved, phase)()
        getattr(saved, then)()
    stands = monitor()
    for phase in ("pause", "start", "complete"):
        getattr(stands, phase)()
    for limit in (0, 1):
        goes_on = monitor()
        goes_on.start()
        goes_on.pending()
        goes_on.iterate(limit)
        for phase in ("pause", "run", "pending", "pause", "complete"):
            getattr(goes_on, phase)()
    monitor().load([b"a", b"b"])
    assert {(a, b) for a, b in taken if a != b} == STEPS["v1"]
    assert moved == ACCESSES["v1"]
