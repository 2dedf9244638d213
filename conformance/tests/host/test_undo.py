# SPDX-License-Identifier: GPL-2.0-only
"""What a run changes on a machine is undone, wherever it was killed, on a machine made of files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.errors import DriverError, LabError
from conformance.host import bind, modules, undo
from conformance.host.errors import Refused, RestoreError
from conformance.host.journal import FunctionBefore, Journal, ModulesBefore, SuiteMark, the_journal
from conformance.host.paths import HostPaths
from conformance.tests.host.fake_host import FakeHost
from kpatch.errors import ProgramFailed
from kpatch.tools import programs

DEVICE = "0000:01:10.0"
PEER = "0000:01:10.2"
MODULE = "igb_vf_vfio_pci"
NEEDED = ["vfio", "vfio_iommu_type1", "vfio_pci_core"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


class Machine(FakeHost):
    """A fake host with programs for modules; `fuse` counts down to the kill."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.paths = HostPaths(self.sysfs, self.proc, root / "state", root / "dev")
        self.fuse = -1

    def burn(self) -> None:
        """Count an effect: before it and after it somebody may kill us."""
        if self.fuse == 0:
            raise Killed
        self.fuse -= 1

    def write_text(self, path: Path, text: str) -> int:
        self.burn()
        written = super().write_text(path, text)
        self.burn()
        return written

    def run(self, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.burn()
        out = ""
        match list(argv):
            case ["modprobe", "--show-depends", name]:
                order = {"vfio_pci_core": ["vfio", "vfio_pci_core"]}.get(
                    name, ["vfio", "vfio_iommu_type1"]
                )
                out = "".join(f"insmod /lib/modules/x/{one}.ko.xz \n" for one in order)
            case ["modprobe", name]:
                self.module(name)
            case ["insmod", path]:
                self.driver("igb_vf_vfio_pci", modules.name_of(path))
            case ["rmmod", name]:
                if users := modules.users(name, self.paths):
                    raise ProgramFailed(argv, 1, f"in use by {users}", "")
                self.unload(name)
        self.burn()
        return subprocess.CompletedProcess(list(argv), 0, out, "")

    def snapshot(self) -> dict[str, Any]:
        """All that a run may change."""
        loaded = {one.parent.name for one in (self.sysfs / "module").glob("*/initstate")}
        functions = {
            one.name: (self.bound(one.name), self.override(one.name))
            for one in self.devices.iterdir()
        }
        return {"modules": loaded, "functions": functions, "state": self.left()}

    def left(self) -> list[str]:
        state = self.paths.state
        return sorted(one.name for one in state.iterdir()) if state.exists() else ["lock"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    machine.answer(monkeypatch)
    monkeypatch.setattr(programs, "run", machine.run)
    append = Journal._append

    def burning(journal: Journal, *words: Any) -> None:
        machine.burn()
        append(journal, *words)
        machine.burn()

    monkeypatch.setattr(Journal, "_append", burning)
    return machine


def unbound(machine: Machine) -> None:
    machine.function(DEVICE)
    machine.function(PEER, group="13")


def other_drivers(machine: Machine) -> None:
    """Different drivers, one of them reserved, and one of the modules is there."""
    machine.driver("igbvf", "igbvf")
    machine.driver("vfio-pci", "vfio_pci")
    machine.module("vfio", users=1)
    machine.function(DEVICE, "igbvf")
    machine.function(PEER, "vfio-pci", group="13", override="vfio-pci")
    machine.ids = {DEVICE: ["igbvf"], PEER: ["igbvf"]}


SCENES = {"unbound": unbound, "other-drivers": other_drivers}


def take(machine: Machine) -> None:
    """Do everything that a run does before the suite."""
    paths = machine.paths
    with the_journal(paths) as journal:
        journal.begin()
        driver = bind.load(Path(f"/x/{MODULE}.ko"), MODULE, NEEDED, journal, paths, again=False)
        bind.bind([DEVICE, PEER], driver, journal, paths)
        journal.note(SuiteMark("mark"))


def restore(machine: Machine) -> bool:
    with the_journal(machine.paths) as journal:
        return undo.undo(journal, machine.paths, lambda _line: None)


def effects(machine: Machine, work: Callable[[Machine], object]) -> int:
    """Count the effects of some work."""
    machine.fuse = 10_000
    work(machine)
    return 10_000 - machine.fuse


def test_a_whole_run(machine: Machine) -> None:
    other_drivers(machine)
    before = machine.snapshot()
    take(machine)
    assert machine.bound(DEVICE) == machine.bound(PEER) == "igb_vf_vfio_pci"
    assert "vfio_pci_core" in machine.snapshot()["modules"]
    assert restore(machine)
    assert machine.snapshot() == before
    assert not restore(machine)  # there is nothing any more


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_killed_anywhere(scene: Callable[[Machine], None], machine: Machine) -> None:
    """Kill the run before and after each of its effects, then restore."""
    scene(machine)
    before = machine.snapshot()
    count = effects(machine, take)
    assert count > 30
    machine.fuse = -1
    restore(machine)
    for fuse in range(count):
        machine.fuse = fuse
        with pytest.raises(Killed):
            take(machine)
        machine.fuse = -1
        restore(machine)
        assert machine.snapshot() == before, f"killed after {fuse} effects"


def test_killed_anywhere_while_it_is_undone(machine: Machine) -> None:
    other_drivers(machine)
    before = machine.snapshot()
    take(machine)
    count = effects(machine, restore)
    assert count > 10
    for fuse in range(count):
        machine.fuse = -1
        take(machine)
        machine.fuse = fuse
        with pytest.raises(Killed):
            restore(machine)
        machine.fuse = -1
        restore(machine)
        assert machine.snapshot() == before, f"killed after {fuse} effects"


def test_a_line_without_its_end_is_a_step_not_taken(machine: Machine) -> None:
    other_drivers(machine)
    before = machine.snapshot()
    take(machine)
    whole = (machine.paths.state / "journal").read_bytes()
    restore(machine)
    for length in range(len(whole)):
        (machine.paths.state / "journal").write_bytes(whole[:length])
        restore(machine)
        assert machine.snapshot() == before


def test_virtual_functions_which_are_not_probed(machine: Machine) -> None:
    """sriov_drivers_autoprobe 0: no driver takes them unless they are reserved for it."""
    machine.driver("igbvf", "igbvf")
    machine.function(DEVICE, "igbvf")
    machine.function(PEER, group="13")
    take(machine)
    machine.ids = {}
    restore(machine)
    assert machine.bound(DEVICE) == "igbvf"
    assert machine.override(DEVICE) == ""


def test_after_a_restart_there_is_nothing_to_undo(machine: Machine) -> None:
    unbound(machine)
    take(machine)
    (machine.proc / "sys/kernel/random/boot_id").write_bytes(b"the-second-boot\n")
    said: list[str] = []
    with the_journal(machine.paths) as journal:
        assert not undo.undo(journal, machine.paths, said.append)
    assert "rebooted" in said[0]
    assert machine.left() == ["lock"]


def test_a_driver_that_does_not_come_back(machine: Machine) -> None:
    other_drivers(machine)
    take(machine)
    machine.refusing = {"igbvf"}
    with pytest.raises(RestoreError, match=r"0000:01:10.0.*was bound to igbvf") as caught:
        restore(machine)
    assert "conformance restore" in str(caught.value)
    assert machine.bound(PEER) == "vfio-pci"  # all else is undone
    machine.refusing = set()
    assert restore(machine)
    assert machine.bound(DEVICE) == "igbvf"


def test_a_function_that_is_gone(machine: Machine) -> None:
    unbound(machine)
    take(machine)
    (machine.devices / PEER).unlink()
    assert restore(machine)
    assert machine.bound(DEVICE) is None


def test_what_others_use_by_now_stays(machine: Machine) -> None:
    unbound(machine)
    take(machine)
    machine.module("vfio_pci_core", users=1)
    said: list[str] = []
    with the_journal(machine.paths) as journal:
        undo.undo(journal, machine.paths, said.append)
    assert any("vfio_pci_core" in line for line in said)
    assert "vfio_pci_core" in machine.snapshot()["modules"]
    assert MODULE not in machine.snapshot()["modules"]


def test_somebody_has_the_device_open(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "_PATIENCE", 0.1)
    unbound(machine)
    take(machine)
    machine.process(4711, "qemu", "/dev/vfio/12")
    with pytest.raises(RestoreError, match=r"in use by qemu \(process 4711\)"):
        restore(machine)
    assert machine.bound(DEVICE) == "igb_vf_vfio_pci"  # the kernel would have made us wait


def test_processes_of_a_killed_suite_are_ended(machine: Machine) -> None:
    unbound(machine)
    take(machine)
    child = subprocess.Popen(["sleep", "60"])
    other = subprocess.Popen(["sleep", "60"])
    folder = machine.process(child.pid, "python3", environ=f"A=1\0{undo.MARK}=mark\0B=2")
    machine.process(other.pid, "python3", environ=f"{undo.MARK}=another")
    real = os.kill

    def kill(pid: int, number: int) -> None:
        real(pid, number)
        (folder / "environ").unlink(missing_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", kill)
        restore(machine)
    try:
        assert child.wait(5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_driver_that_takes_no_function(machine: Machine) -> None:
    other_drivers(machine)
    before = machine.snapshot()
    machine.refusing = {"igb_vf_vfio_pci"}
    with pytest.raises(DriverError, match="was offered to igb_vf_vfio_pci"):
        take(machine)
    restore(machine)
    assert machine.snapshot() == before


def test_signals_wait_until_all_is_undone(machine: Machine) -> None:
    said: list[str] = []
    with undo.undisturbed(said.append):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert len(said) == 2
    assert machine.left() == ["lock"]


def test_one_run_at_a_time(machine: Machine) -> None:
    with (
        the_journal(machine.paths),
        pytest.raises(Refused, match=f"process {os.getpid()}, is active"),
        the_journal(machine.paths),
    ):
        pass
    with the_journal(machine.paths):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "nonsense\n",
        '{"schema": 2, "pid": 1, "boot_id": "the-first-boot"}\n',
        '{"schema": 1, "pid": 1, "boot_id": "x"}\n{"step": "unheard"}\n',
        '{"schema": 1, "pid": 1, "boot_id": "x"}\n{"step": "function", "what": 1}\n',
        "[]\n",
    ],
)
def test_a_journal_that_is_not_ours(machine: Machine, text: str) -> None:
    machine.paths.state.mkdir()
    (machine.paths.state / "journal").write_bytes(text.encode())
    with pytest.raises(LabError, match="damaged, or of another version"):
        restore(machine)
    assert (machine.paths.state / "journal").exists()


def test_the_journal_can_be_read_by_people(machine: Machine) -> None:
    other_drivers(machine)
    take(machine)
    text = (machine.paths.state / "journal").read_text()
    _, *lines = (json.loads(line) for line in text.splitlines())
    assert lines[0] == {
        "step": "modules",
        "names": ["vfio_iommu_type1", "vfio_pci_core", "igb_vf_vfio_pci"],
    }
    assert lines[1]["driver"] == "igbvf"
    assert oct((machine.paths.state / "journal").stat().st_mode & 0o777) == "0o600"
    steps = Journal(machine.paths).read()
    assert steps
    assert [type(step) for step in steps.steps] == [
        ModulesBefore,
        FunctionBefore,
        FunctionBefore,
        SuiteMark,
    ]
