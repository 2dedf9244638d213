# SPDX-License-Identifier: GPL-2.0-only
"""The room of the real monitor, as far as it runs without one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TypeVar
from unittest.mock import Mock

import pytest

from conformance.cli.arguments import parse
from conformance.errors import AgentError, DriverError
from conformance.events.kinds import Agent, Event, Output, Phase
from conformance.events.kinds import AgentError as AgentErrorEvent
from conformance.lab.check.prepare import Options, look_up
from conformance.migration.errors import StateError
from conformance.migration.v1.vmm import Vmm as OldVmm
from conformance.migration.v2.states import State
from conformance.migration.v2.vmm import Vmm
from conformance.uapi import constants as c
from conformance.vfio import features
from conformance.vfio.data_file import DataFile
from conformance.vmm.command import follow, impossible, line_of
from conformance.vmm.inside.bench import Bench, Register, Unexpected, expect
from conformance.vmm.inside.machine import Function
from conformance.vmm.inside.order import ACCESSES, STEPS, foreign, states_of, unknown
from conformance.vmm.inside.qmp import Lost, Program, Qmp, Refused
from conformance.vmm.inside.scenarios import AWARE, SCENARIOS, SHORT, UNAWARE, WORKING

ROW = {"id": "live", "failure": "", "seconds": 4.5, "states": {"monitor-1": ["PRE_COPY", "STOP"]}}


def test_scenarios_are_told_from_other_output(tmp_path: Path) -> None:
    events: list[Event] = [
        Agent(Phase.MODULE, "x"),
        Output("Traceback\n"),
        Output(json.dumps(ROW) + "\n"),
        Agent(Phase.DONE, ""),
    ]
    log = tmp_path / "log"
    assert list(follow(events, log)) == [ROW]
    assert log.read_text() == "Traceback\n"


@pytest.mark.parametrize(
    ("phase", "error"),
    [
        (Phase.MODULE, DriverError),
        (Phase.UNLOAD, DriverError),
        (Phase.LEAKS, DriverError),
        ("script", AgentError),
    ],
)
def test_who_is_to_blame(tmp_path: Path, phase: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="no way"):
        list(follow([AgentErrorEvent(phase, "no way", ())], tmp_path / "log"))


def test_a_failure_is_shown_with_its_reason() -> None:
    assert line_of(ROW).splitlines() == [
        "passed  live  4.5 s",
        "        monitor-1: PRE_COPY > STOP",
    ]
    assert line_of({**ROW, "failure": "too late"}).startswith("FAILED  live")
    assert line_of({**ROW, "failure": "too late"}).endswith("\n        too late")


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


def test_what_cannot_be_run_and_why() -> None:
    igb = look_up(Options(device="igb-vf"))
    assert set(impossible(igb, knows=False)) == {*WORKING, *AWARE}
    assert set(impossible(igb, knows=True)) == {*WORKING, *UNAWARE}
    soft = look_up(Options(device="emulated"))
    assert set(impossible(soft, knows=False)) == {*AWARE}
    module = replace(soft, options=replace(soft.options, module=Path("a.ko")))
    assert (
        impossible(module, knows=False)["driver.other"] == "of a module there is no other version"
    )


def test_the_image_decides_on_the_version() -> None:
    assert parse(["vmm", "emulated"]).protocol == "v2"
    assert parse(["vmm", "emulated", "--image", "bookworm-qemu"]).protocol == "v1"


def test_the_old_monitor_has_another_property() -> None:
    assert ",enable-migration=on" in Function(Path("/f")).option()
    assert ",x-enable-migration=on" in Function(Path("/f"), protocol="v1").option()


@pytest.mark.parametrize(("lost", "wrong"), [("0", "0"), ("1", "0"), ("0", "2")])
def test_doorbells_that_were_not_served_are_noticed(lost: str, wrong: str) -> None:
    bench = Bench((Path(), Path()), "", [], Path(), Path(), Path(), Path())
    guest = Guest("4 0 0", "4 0 0", "6 0 0", "", f"6 {lost} {wrong}")
    if lost == wrong:
        bench.worked(guest)  # type: ignore[arg-type]
    else:
        with pytest.raises(Unexpected, match="doorbells that were lost or"):
            bench.worked(guest)  # type: ignore[arg-type]


def test_only_what_differs_is_unexpected() -> None:
    expect("it", 1, 1)
    with pytest.raises(Unexpected, match="it: expected 2, got 1"):
        expect("it", 1, 2)


class Guest:
    """Stands for a machine whose guest has these registers and memory."""

    status = "running"
    functions = (None,)

    def __init__(self, *answers: str) -> None:
        self.guest = self
        self._answers = list(answers)

    def ask(self, line: str) -> str:
        return "" if line.startswith("use ") else self._answers.pop(0)


def test_a_register_or_memory_that_did_not_move_is_noticed() -> None:
    bench = Bench((Path(), Path()), "", [Register(0, 0, 0xFF)], Path(), Path(), Path(), Path())
    good = bench.fingerprint(Guest("0x105", "aa"))  # type: ignore[arg-type]
    assert good == ["0x00000005", "aa"]  # the register's other bits do not count
    bench.went_on(Guest("0x205", "aa"), good)  # type: ignore[arg-type]
    for answers in (("0x106", "aa"), ("0x105", "ab")):
        with pytest.raises(Unexpected, match="registers and memory"):
            bench.went_on(Guest(*answers), good)  # type: ignore[arg-type]


@pytest.mark.parametrize("mapped", [True, False])
def test_monitor_and_command_line_give_the_same_function(*, mapped: bool) -> None:
    function = Function(Path("/sys/f"), mapped=mapped)
    option = function.option()
    assert option.startswith("vfio-pci,")
    words = {"True": "on", "False": "off"}
    for key, value in function.properties().items():
        assert key == "driver" or f",{key}={words.get(str(value), value)}" in option
    assert f"x-no-mmap={'off' if mapped else 'on'}" in option


def test_what_is_mapped_has_its_interrupt_table_elsewhere() -> None:
    assert "x-msix-relocation=bar2" in Function(Path("/sys/f"), mapped=True).option()
    assert "x-msix-relocation" not in Function(Path("/sys/f")).option()


def test_each_function_of_a_guest_has_a_place_of_its_own() -> None:
    options = [Function(Path("/sys/f"), slot=slot).option() for slot in (0, 1)]
    assert [f"id=function{slot}" in option for slot, option in enumerate(options)] == [True, True]
    assert ["addr=0x5" in option for option in options] == [True, False]


def test_memory_is_pinned_behind_an_iommu(tmp_path: Path) -> None:
    assert not Function(tmp_path).pins
    (tmp_path / "iommu").mkdir()
    assert Function(tmp_path).pins


def test_a_guest_with_more_functions_than_there_are() -> None:
    bench = Bench([Path("/a"), Path("/b")], "", [], Path(), Path(), Path(), Path())
    with pytest.raises(Unexpected, match="too few functions for a guest with 2"):
        bench.guest(count=2)


def _piece(data: bytes) -> bytes:
    return bytes.fromhex("ffffffffef100004") + len(data).to_bytes(8, "big") + data


@pytest.mark.parametrize("name", ["stream.cut", "stream.corrupt", "stream.foreign"])
def test_streams_are_spoilt_in_the_last_piece_of_the_function(name: str, tmp_path: Path) -> None:
    good = b"memory" + _piece(b"identity") + _piece(bytes(range(100))) + b"rest"
    (tmp_path / "good").write_bytes(good)
    loaded = {}

    def load(file: str, _: object) -> None:
        loaded[file] = (tmp_path / file).read_bytes()
        raise Lost(file)

    (tmp_path / "log").write_text(
        "vfio_mig_write 8 byte e.1: failed at offset 0x90000000018, err: Invalid argument\n"
    )
    bench = Mock(folder=tmp_path, from_file=load, logs=lambda: [tmp_path / "log"])
    with pytest.raises(Lost, match="good"):
        SCENARIOS[name](bench)
    bad, start = loaded["bad"], good.index(bytes(range(100)))
    assert bad[:start] == good[:start]
    assert bad != good
    assert name == "stream.cut" or (len(bad) == len(good) and bad.endswith(b"rest"))


def test_a_stream_that_the_driver_takes_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    (tmp_path / "good").write_bytes(_piece(b"state"))
    bench = Mock(folder=tmp_path, logs=lambda: [tmp_path / "log"])
    with pytest.raises(Unexpected, match="the driver refused the state"):
        SCENARIOS["stream.corrupt"](bench)


def test_the_selection_exists() -> None:
    assert set(SHORT) < set(SCENARIOS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "v1"], "say --image bookworm-qemu with --protocol v1"),
        (["--protocol", "v2", "--image", "bookworm-qemu"], "another image with --protocol v2"),
        (["--stranger", "mtty"], "omit --stranger"),
        (["--image", "bookworm"], "has no QEMU: say --image bookworm-qemu"),
    ],
)
def test_what_qemu_cannot_do_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["vmm", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """Serve a socket: send the next of these answers for each line that comes."""
    path, answers = tmp_path / "socket", [b'{"QMP": {}}\n']
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            if answers[0].startswith(b'{"QMP'):
                connection.sendall(answers.pop(0))
            for _ in lines:
                if not answers:
                    return
                connection.sendall(answers.pop(0))

    thread = threading.Thread(target=serve)
    thread.start()
    yield path, answers
    thread.join(5)
    server.close()


def test_the_monitor_answers_and_refuses(peer: tuple[Path, list[bytes]]) -> None:
    path, answers = peer
    answers += [
        b'{"return": {}}\n',
        b'{"event": "STOP"}\n{"return": {"status": "running"}}\n',
        b'{"error": {"desc": "busy"}}\n',
    ]
    qmp = Qmp(path)
    assert qmp.run("query-status") == {"status": "running"}
    with pytest.raises(Refused, match="busy"):
        qmp.run("migrate", uri="x")
    with pytest.raises(Lost, match="closed"):
        qmp.run("query-status")
    qmp.close()


def test_the_end_of_a_migration_is_waited_for(peer: tuple[Path, list[bytes]]) -> None:
    path, answers = peer
    answers += [
        b'{"return": {}}\n',
        b'{"return": {}}\n',
        b'{"return": {"status": "active"}}\n',
        b'{"return": {"status": "failed", "error-desc": "busy"}}\n',
        b'{"return": {"status": "active"}}\n',
    ]
    qmp = Qmp(path)
    found = qmp.migration(lambda status: status == "failed", 10)
    assert found["error-desc"] == "busy"
    with pytest.raises(Lost, match="does not end"):
        qmp.migration(lambda status: status == "completed", -1)
    qmp.close()


def test_a_monitor_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="QEMU ended while it started: none"):
        Qmp(tmp_path / "none", alive=lambda: False)


def test_the_guest_answers_and_refuses(peer: tuple[Path, list[bytes]]) -> None:
    path, answers = peer
    answers[:] = [b"ok 0x5\n", b"failed there is no register\n"]
    program = Program(path)
    assert program.ask("read 0 0") == "0x5"
    with pytest.raises(Lost, match="no register"):
        program.ask("read 9 0")
    program.close()
