# SPDX-License-Identifier: GPL-2.0-only
"""The server's process, and how its functions come into a guest."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from conformance.errors import DefinitionError, LabError, QemuError
from conformance.lab.guest import plug
from conformance.lab.guest.plug import Functions, served, server_argv
from conformance.lab.image import definitions
from conformance.lab.image.definitions import MachineDefinition
from conformance.lab.machine.argv import Boot, RunFiles, qemu_argv
from conformance.running import paths
from kpatch.tools import programs


@pytest.fixture
def machine() -> MachineDefinition:
    return definitions.machine_for(["8086:154c"], "i40e-vf", definitions.machines())


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path, tmp_path / "logs")


class FakeMonitor:
    """Takes commands and connects to what is plugged, as QEMU does."""

    def __init__(self, refuses: bool = False) -> None:
        self.plugged: list[tuple[str, str]] = []
        self._refuses = refuses

    def execute(self, command: str, **arguments: Any) -> None:
        assert (command, arguments["driver"]) == ("device_add", "vfio-user-pci")
        if self._refuses:
            raise QemuError("QEMU refused device_add: no such bus.")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(arguments["socket"]["path"])
        self.plugged.append((arguments["bus"], arguments["id"]))


def test_functions_are_plugged_and_end_with_the_run(
    machine: MachineDefinition, files: RunFiles
) -> None:
    monitor = FakeMonitor()
    with served(machine, files) as functions:
        functions.plug(monitor)  # type: ignore[arg-type]
        assert all(path.is_socket() for path in functions.sockets.values())
        _wait_for("A client connects", files.server_log)
    assert monitor.plugged == [("rp0", "function-rp0"), ("rp1", "function-rp1")]
    assert functions.process is not None
    assert functions.process.poll() == 0
    assert not any(path.exists() for path in functions.sockets.values())


def _wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < deadline, f"{text!r} does not come: {log.read_text()}"
        time.sleep(0.01)


def test_server_which_does_not_start_is_shown(machine: MachineDefinition, tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "missing", tmp_path / "logs")
    with (
        served(machine, files) as functions,
        pytest.raises(LabError, match=r"(?s)did not start.*sockets cannot be made.*No such file"),
    ):
        functions.plug(FakeMonitor())  # type: ignore[arg-type]


def test_server_which_hangs_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plug, "_TIMEOUT", 0.05)
    with programs.start(["sleep", "10"]) as process:
        functions = Functions({"rp0": tmp_path / "never"}, process, tmp_path / "log")
        with pytest.raises(LabError, match="did not start"):
            functions.plug(FakeMonitor())  # type: ignore[arg-type]


def test_refusal_of_qemu_is_passed_on(machine: MachineDefinition, files: RunFiles) -> None:
    with served(machine, files) as functions, pytest.raises(QemuError, match="no such bus"):
        functions.plug(FakeMonitor(refuses=True))  # type: ignore[arg-type]


def test_other_machines_start_no_server(files: RunFiles) -> None:
    igb = next(one for one in definitions.machines() if one.name == "igb")
    with served(igb, files) as functions:
        functions.plug(FakeMonitor())  # type: ignore[arg-type]
    assert functions.process is None
    assert not files.server_log.exists()


def test_dry_run_prints_the_server(machine: MachineDefinition, files: RunFiles) -> None:
    lines: list[str] = []
    with programs.dry_run(lines.append), served(machine, files):
        pass
    assert len(lines) == 1
    assert "-m conformance.lab.machine.vfio_user" in lines[0]
    assert server_argv(machine, files)[-2:] == [
        str(files.folder / f"function-rp{n}") for n in (0, 1)
    ]


def test_snapshot_knows_nothing_of_the_functions(
    machine: MachineDefinition, files: RunFiles
) -> None:
    boot = Boot(Path("/k"), Path("/i"), Path("/d"))
    argv = qemu_argv(machine, boot, files, "tcg")
    assert not any("vfio-user" in word for word in argv)
    assert argv.index("-object") < argv.index("-machine")


def test_every_image_that_lends_its_qemu_exists() -> None:
    lenders = {one.qemu for one in definitions.machines()}
    lenders |= {definitions.image(name).qemu for name in definitions.images()}
    for name in lenders - {None}:
        assert name is not None
        assert "qemu-system-x86" in definitions.image(name).packages


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('plugged = ["rp0", "rp1"]', "", "`physical_function`, or `plugged`"),
        ('plugged = ["rp0", "rp1"]', 'plugged = ["rp0"]', "a bus for each"),
        ('summary = "', 'network = "eth0"\nsummary = "', "of a `physical_function`"),
    ],
)
def test_machine_whose_functions_are_a_mistake(
    tmp_path: Path, old: str, new: str, mistake: str
) -> None:
    shutil.copy(paths.DATA / "machines" / "i40e.toml", tmp_path)
    file = tmp_path / "i40e.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(DefinitionError, match=mistake):
        definitions.machines(tmp_path)
