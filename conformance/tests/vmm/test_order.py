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
from conformance.vmm.inside.order import ACCESSES, STEPS, foreign, states_of, unknown


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
    assert foreign(old, "v1") == []
    assert foreign(old + "vfio_save_buffer  (f) Offset 0x0 size 0x20\n", "v1") == [
        "read in RUNNING"
    ]
    new = "vfio_migration_set_state  (f) new state RESUMING, recover state RUNNING\n"
    assert foreign(new + "vfio_load_state_device_data  (f) size 4 ret 0\n", "v2") == []
    assert foreign(new + "vfio_save_block  (f) data_size 4\n", "v2") == ["read in RESUMING"]


SAVING = (State.PRE_COPY, State.PRE_COPY_P2P, State.STOP_COPY)


T = TypeVar("T")


class Steps:
    """Stands for a function: takes every state, and keeps the steps."""

    bdf = "none"

    def __init__(self) -> None:
        self.now, self.taken = State.RUNNING, set[tuple[str, str]]()
        self.moved = set[tuple[str, str]]()

    def set_state(self, _: object, new: int) -> DataFile | None:
        self.taken.add((self.now.name, State(new).name))
        begins = new in SAVING and self.now not in SAVING
        self.now = State(new)
        opens = begins or self.now is State.RESUMING
        self.file = Mock(DataFile) if opens else self.file
        if self.file:
            self.file.write.side_effect = lambda data: self.note("write", len(data))
            self.file.read.side_effect = lambda _: self.note("read", b"")
            self.file.precopy_info.return_value.initial_bytes = 0
            self.file.close.side_effect = self.forget
        return self.file if opens else None

    file: Mock | None = None

    def forget(self) -> None:
        self.file = self.note("close", None)

    def note(self, access: str, answer: T) -> T:
        self.moved.add((self.now.name, access))
        return answer


def test_the_known_steps_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[tuple[str, str]] = set()
    moved: set[tuple[str, str]] = set()
    flags = 0

    def monitor() -> Vmm:
        steps = Steps()
        monkeypatch.setattr(features, "set_state", steps.set_state)
        monkeypatch.setattr(features, "migration_flags", lambda _: flags)
        monkeypatch.setattr(features, "data_size", lambda _: 4096)
        steps.taken, steps.moved = taken, moved
        return Vmm(steps)  # type: ignore[arg-type]

    phases = ("setup", "stop", "complete", "cleanup")
    for precopy, p2p in product((0, c.VFIO_MIGRATION_PRE_COPY), (0, c.VFIO_MIGRATION_P2P)):
        flags = c.VFIO_MIGRATION_STOP_COPY | precopy | p2p
        for end, then in product(range(1, len(phases) + 1), ("give_up", "start")):
            saved = monitor()
            for phase in phases[:end]:
                getattr(saved, phase)()
            if then == "give_up" or end in (2, 4):  # the machine starts where it was stopped
                getattr(saved, then)()
        monitor().save()
        if precopy:
            reset = monitor()
            reset.setup()
            reset.device.now = State.RUNNING  # type: ignore[attr-defined]  # unknown to the monitor
            reset.device.moved = set()  # type: ignore[attr-defined]  # the new file is closed at once
            with pytest.raises(StateError, match="out of sync"):
                reset.stop()
        for stopped in (False, True):
            loaded = monitor()
            if stopped:
                loaded.stop()
            loaded.load([b"data"])
            loaded.start()
    assert taken == STEPS["v2"]
    assert moved == ACCESSES["v2"]


class OldSteps:
    """Stands for the migration region of a function: takes every state, and keeps the steps."""

    def __init__(self, taken: set[tuple[str, str]], begun: int) -> None:
        self.state, self._taken, self.device = begun, taken, Mock()

    def set_state(self, new: int) -> None:
        self._taken.add((_name(self.state), _name(new)))
        self.state = new


def _name(state: int) -> str:
    (found,) = states_of(f"vfio_migration_set_state  (f) state {state}")
    return found


def test_the_known_steps_of_v1_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[tuple[str, str]] = set()
    monkeypatch.setattr(OldVmm, "_map", Mock())
    monkeypatch.setattr(OldVmm, "iterate", Mock())

    def monitor() -> OldVmm:
        return OldVmm(OldSteps(taken, 1))  # type: ignore[arg-type]

    phases = ("start", "pause", "complete")
    for end, then in product(range(len(phases) + 1), ("give_up", "run")):
        saved = monitor()
        for phase in phases[:end]:
            getattr(saved, phase)()
        getattr(saved, then)()
    stands = monitor()
    stands.pause()
    stands.complete()
    monitor().load([])
    assert {(a, b) for a, b in taken if a != b} == STEPS["v1"]
