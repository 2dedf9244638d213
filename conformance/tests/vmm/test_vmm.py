# SPDX-License-Identifier: GPL-2.0-only
"""The room of the real monitor, as far as it runs without one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from conformance.cli.arguments import parse
from conformance.errors import AgentError, DriverError
from conformance.events.kinds import Agent, Event, Output, Phase
from conformance.events.kinds import AgentError as AgentErrorEvent
from conformance.lab.check.prepare import Options, look_up
from conformance.running import paths
from conformance.vmm.command import REGISTERS, _registers, follow, impossible, line_of
from conformance.vmm.inside.bench import Bench, Register, Unexpected, expect
from conformance.vmm.inside.machine import Function
from conformance.vmm.inside.qmp import Lost
from conformance.vmm.inside.scenarios import (
    AWARE,
    PACKETS,
    SCENARIOS,
    SHORT,
    UNAWARE,
    WORKING,
)

ROW = {
    "id": "live",
    "failure": "",
    "seconds": 4.5,
    "states": {"monitor-1": ["PRE_COPY", "STOP"]},
    "packets": {},
}


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
    assert line_of({**ROW, "packets": {"to the guest": "3 sent"}}).splitlines()[2:] == [
        "        packets to the guest: 3 sent"
    ]
    assert line_of({**ROW, "failure": "too late"}).startswith("FAILED  live")
    assert line_of({**ROW, "failure": "too late"}).endswith("\n        too late")


def test_what_cannot_be_run_and_why() -> None:
    igb = look_up(Options(device="igb-vf"))
    assert set(impossible(igb, knows=False)) == {*WORKING, *AWARE}
    assert set(impossible(igb, knows=True)) == {*WORKING, *UNAWARE}
    soft = look_up(Options(device="emulated"))
    assert set(impossible(soft, knows=False)) == {*AWARE, *PACKETS}
    module = replace(soft, options=replace(soft.options, module=Path("a.ko")))
    assert (
        impossible(module, knows=False)["driver.other"] == "of a module there is no other version"
    )


def test_the_guest_does_not_write_what_its_driver_uses() -> None:
    found = _registers(look_up(Options(device="igb-vf")))
    assert REGISTERS // 2 < len(found) <= REGISTERS
    parts = {one[: len("0:0x29")] for one in found}  # receive and transmit ring, vectors
    assert parts == {"0:0x29", "0:0x39", "0:0x16"}
    soft = look_up(Options(device="emulated"))
    assert _registers(soft) == list(soft.machine.scratch)


@pytest.mark.parametrize(
    ("polled", "left"),
    [
        ((), ["0:0x80:0xf", "0:0x2800:0xf", "0:0x28fc:0xf", "0:0x2900:0xf", "1:0x2800:0xf"]),
        (("0:0x2800:0x100",), ["0:0x80:0xf", "0:0x2900:0xf", "1:0x2800:0xf"]),
        (("0:0x2800:0x1", "1:0x2000:0x801"), ["0:0x80:0xf", "0:0x28fc:0xf", "0:0x2900:0xf"]),
    ],
)
def test_ranges_of_its_driver_are_left_alone(polled: tuple[str, ...], left: list[str]) -> None:
    scratch = ("0:0x80:0xf", "0:0x2800:0xf", "0:0x28fc:0xf", "0:0x2900:0xf", "1:0x2800:0xf")
    machine = look_up(Options(device="emulated")).machine
    machine = machine.model_copy(update={"scratch": scratch, "polled": polled})
    assert machine.left_by_driver() == left


def test_the_machine_names_what_the_driver_in_the_guest_takes() -> None:
    source = (paths.DATA / "vmm/net.c").read_text()
    starts = dict(re.findall(r"#define (VMBMEM|V2PMAILBOX|RECEIVE|TRANSMIT) (0x[0-9a-f]+)", source))
    polled = look_up(Options(device="igb-vf")).machine.polled
    assert {place.split(":")[1] for place in polled} == set(starts.values())
    assert len(starts) == len(polled)


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
