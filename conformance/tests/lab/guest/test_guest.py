# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a run whose guest misbehaves, with a program that plays QEMU."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conformance.errors import (
    AgentError,
    GuestHung,
    GuestPanicked,
    GuestSilent,
    LabError,
    QemuError,
)
from conformance.events import kinds
from conformance.events.kinds import Agent
from conformance.lab.check import guests, prepare, run
from conformance.lab.check.prepare import Options, Prepared
from conformance.lab.guest import bringup as session
from conformance.lab.guest import run as guest_run
from conformance.lab.guest.qemu import run_folder
from conformance.lab.image import definitions
from conformance.lab.machine import accel
from conformance.lab.machine.argv import Boot, RunFiles, qemu_argv
from conformance.lab.machine.lab import Lab
from conformance.running.steps import Steps

FAKE = Path(__file__).with_name("fake_qemu.py")
NOTHING: Any = None


@dataclass(frozen=True)
class FakeLab(Lab):
    """A lab whose QEMU is the fake."""

    story: str = ""
    place: Path = Path()

    def argv(
        self, files: RunFiles, *, incoming: bool = False, writable: Sequence[Path] = ()
    ) -> list[str]:
        assert all(folder.is_dir() for folder in writable)
        command = qemu_argv(self.machine, self.boot, files, self.accelerator, incoming=incoming)
        return [sys.executable, str(FAKE), self.story, *command[1:]]

    @property
    def snapshot(self) -> Path:
        return self.place / "snapshots" / "igb-trixie-0123456789ab"


def lab(story: str, place: Path) -> FakeLab:
    machine = next(one for one in definitions.machines() if one.name == "igb")
    boot = Boot(Path("/vmlinuz"), Path("/initramfs"), Path("/disk"))
    return FakeLab(NOTHING, NOTHING, NOTHING, machine, boot, story=story, place=place)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[RunFiles]:
    with run_folder(tmp_path) as found:
        yield found


class Printed:
    """What the user was printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps = Steps(self.lines.append)

    def __contains__(self, words: str) -> bool:
        return any(words in line for line in self.lines)


def play(
    story: str,
    files: RunFiles,
    *,
    cold: bool = False,
    printed: Printed | None = None,
    kit: Path | None = None,
) -> list[str]:
    """Run a guest to its end and return the phases it went through."""
    steps = (printed or Printed()).steps
    with session.ready_guest(lab(story, files.logs), files, steps, kit=kit, cold=cold) as guest:
        guest.order("check")
        heard = list(guest.events(quiet=0.5))
    return [event.phase if isinstance(event, Agent) else event.KIND for event in heard]


def kit_in(place: Path) -> Path:
    """Return a folder that stands for the guest's part of the kit."""
    kit = place / "kit-0123456789ab"
    kit.mkdir(exist_ok=True)
    return kit


def processes(place: Path) -> list[str]:
    """Return the fakes that still run for a test."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes()
            if FAKE.name.encode() in words and str(place).encode() in words:
                found.append(str(path))
    return found


def test_good_guest_is_heard_to_its_end(files: RunFiles) -> None:
    assert play("good", files) == ["payload", "done"]
    assert processes(files.logs) == []


def test_boot_leaves_a_snapshot_and_the_next_run_restores_it(files: RunFiles) -> None:
    first, second = Printed(), Printed()
    play("good", files, printed=first)
    play("good", files, printed=second)
    assert "Booting" in first
    assert "from its snapshot" in second
    assert "boot" not in second.steps.times
    assert [path.name for path in (files.logs / "snapshots").iterdir()] == [
        "igb-trixie-0123456789ab"
    ]


def test_cold_run_boots_although_there_is_a_snapshot(files: RunFiles) -> None:
    play("good", files)
    printed = Printed()
    play("good", files, printed=printed, cold=True)
    assert "Booting" in printed


@pytest.mark.parametrize("story", ["stale snapshot", "sleeps on"])
def test_snapshot_that_does_not_work_is_booted_instead(
    story: str, files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_WAKE_TIMEOUT", 0.3)
    monkeypatch.setattr("conformance.lab.guest.guest._STACKS", 0.1)
    play("good", files)
    printed = Printed()
    assert play(story, files, printed=printed) == ["payload", "done"]
    assert "The snapshot does not work any more" in printed


def test_run_goes_on_without_room_for_a_snapshot(files: RunFiles) -> None:
    printed = Printed()
    assert play("no room", files, printed=printed) == ["payload", "done"]
    assert "Cannot write the snapshot" in printed
    assert list((files.logs / "snapshots").iterdir()) == []


def test_only_the_latest_snapshots_are_kept(tmp_path: Path) -> None:
    folders = [tmp_path / f"igb-trixie-{number}" for number in range(6)]
    for age, folder in enumerate(folders):
        folder.mkdir()
        os.utime(folder, (age, age))
    other = tmp_path / "igb-bookworm-0"
    other.mkdir()
    session._prune(tmp_path, "igb-trixie-*")
    assert sorted(tmp_path.iterdir()) == sorted([other, *folders[-3:]])


def test_guest_that_has_collected_the_suite_is_kept(files: RunFiles) -> None:
    kit, times = kit_in(files.logs), []
    for _ in range(2):
        printed = Printed()
        assert play("good", files, printed=printed, kit=kit) == ["payload", "done"]
        times.append(set(printed.steps.times))
    assert times == [{"boot", "snapshot", "collect"}, {"restore"}]
    other = files.logs / "kit-of-another-commit"
    other.mkdir()
    printed = Printed()
    play("good", files, printed=printed, kit=other)
    assert set(printed.steps.times) == {"restore", "snapshot", "collect"}


def test_kit_is_given_to_a_guest_that_lacks_it(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path | None] = []
    monkeypatch.setattr(
        "conformance.lab.guest.payload.write", lambda _, kit=None: given.append(kit)
    )
    files.payload.touch()
    kit = kit_in(files.logs)
    for story, cold, wanted in (
        ("good", False, [None, kit]),
        ("good", False, [None]),
        ("good", True, [None, kit]),
        ("stale snapshot", False, [None, kit]),
    ):
        given.clear()
        assert play(story, files, kit=kit, cold=cold) == ["payload", "done"]
        assert given == wanted


def test_panic_is_reported_with_the_cause_and_the_place(files: RunFiles) -> None:
    with pytest.raises(GuestPanicked) as caught:
        play("panics", files)
    assert caught.value.exit_code == 3
    assert "phase 'payload'" in caught.value.reason
    assert "BUG: kernel NULL pointer dereference" in caught.value.reason
    assert "igb_vf_mmap_open" in str(caught.value)


def test_reset_without_a_word_is_a_death(files: RunFiles) -> None:
    with pytest.raises(GuestPanicked, match="reset or switched off"):
        play("resets", files)


def test_hang_is_reported_with_the_test_and_the_stacks(files: RunFiles) -> None:
    with pytest.raises(GuestHung) as caught:
        play("hangs", files)
    assert caught.value.exit_code == 3
    assert "after test test_state.py::test_arc began" in caught.value.reason
    assert "NMI" in caught.value.console[-2]


def test_guest_that_never_answers(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BOOT_TIMEOUT", 0.3)
    monkeypatch.setattr("conformance.lab.guest.guest._STACKS", 0.1)
    with pytest.raises(GuestSilent, match=r"did not come up within 0\.3 s") as caught:
        play("never answers", files)
    assert caught.value.exit_code == 3
    assert caught.value.console == ("[    0.000000] Linux version 6.12",)


def test_init_that_gives_up_is_the_labs_fault(files: RunFiles) -> None:
    with pytest.raises(LabError, match="cannot mount the root disk"):
        play("init fails", files)


def test_agent_that_cannot_come_up_is_the_labs_fault(files: RunFiles) -> None:
    with pytest.raises(QemuError, match="'igb' is not a valid device model") as caught:
        play("does not start", files)
    assert caught.value.exit_code == 4


def test_kvm_that_fails_after_the_probe_is_given_up(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    distrusted: list[object] = []
    monkeypatch.setattr(accel, "distrust", distrusted.append)
    monkeypatch.setattr(session, "BOOT_TIMEOUT", 0.3)
    monkeypatch.setattr("conformance.lab.guest.guest._STACKS", 0.1)

    class Emulator:
        sandbox = "root"

    machine = lab("", files.logs).machine
    boot = lab("", files.logs).boot
    emulator: Any = Emulator()
    kvm = FakeLab(
        *(NOTHING, emulator, NOTHING, machine, boot, "kvm"),
        story="never answers",
        place=files.logs,
    )
    printed = Printed()
    with (
        pytest.raises(GuestSilent),
        session.ready_guest(kvm, files, printed.steps),
    ):
        pass
    assert distrusted == ["root"]
    assert "does not boot with KVM; trying without" in printed


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the whole of `check` with a story."""
    monkeypatch.setattr(guest_run, "_stage", lambda _lab, _logs: kit_in(tmp_path))
    monkeypatch.setattr(guests, "_alone", lambda *_: "")
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path / "cache"))

    def check(story: str, quiet: float = 0.5, **options: Any) -> tuple[int, str, dict[str, Any]]:
        monkeypatch.setattr(
            run, "prepare", lambda *_: Prepared(lab(story, tmp_path), None, {"kernel": "6.12"})
        )
        request = prepare.look_up(Options(quiet=quiet, **options))
        out = io.StringIO()
        results = tmp_path / "results"
        status = run.check(request, results, out)
        return status, out.getvalue(), json.loads((results / "results.json").read_text())

    return check


@pytest.mark.parametrize(
    ("story", "status", "words"),
    [
        ("panics", 3, "BUG: kernel NULL pointer dereference"),
        ("hangs", 3, "No event came from the guest"),
        ("does not start", 4, "not a valid device model"),
        ("module refused", 1, "the driver could not be loaded"),
        ("module refused", 1, "igb_vf: no such hardware"),
        ("agent breaks", 4, "agent gave up"),
        ("half a line", 3, "reset or switched off the machine"),
        ("good", 4, "the suite never began"),
    ],
)
def test_each_end_has_its_exit_code_and_words(
    checked: Any, story: str, status: int, words: str
) -> None:
    found, said, _ = checked(story)
    assert words in " ".join(said.split())
    assert found == status


def test_times_are_in_the_results_and_on_the_terminal(checked: Any) -> None:
    _, said, results = checked("good")
    assert "time: " in said
    assert "boot" in results["timings"]


def test_two_guests_share_the_tests_and_give_one_result(checked: Any, tmp_path: Path) -> None:
    status, said, results = checked("shares", guests=2)
    assert status == 0
    assert "2 guests share the tests" in said
    assert [test["id"] for test in results["tests"]] == [
        "test_state.py::test_1",
        "test_state.py::test_2",
    ]
    folder = tmp_path / "results"
    assert (folder / "pytest.log").read_text() == "guest 1"
    assert (folder / "guest-2/pytest.log").read_text() == "guest 2"
    assert (folder / "guest-2/console.log").exists()
    known = run.history(prepare.look_up(Options()))
    assert known.lengths == {"test_state.py::test_1": 0.5, "test_state.py::test_2": 0.5}
    assert known.failed == set()
    assert processes(tmp_path) == []


def test_one_guest_of_two_dies_and_nothing_of_the_other_is_lost(
    checked: Any, tmp_path: Path
) -> None:
    status, said, results = checked("second panics", guests=2)
    assert status == 3
    assert "BUG: kernel NULL pointer dereference" in said
    outcomes = {test["id"].rpartition("_")[2]: test["outcome"] for test in results["tests"]}
    assert outcomes == {"1": "passed", "2": "running"}
    assert run.history(prepare.look_up(Options())).failed == {"test_state.py::test_2"}
    assert processes(tmp_path) == []


def test_guests_that_do_not_agree_are_the_labs_fault(checked: Any) -> None:
    status, said, results = checked("second unlike", guests=2)
    assert status == 4
    assert "does not run the session of the others: seed" in said
    assert "passed" in {test["outcome"] for test in results["tests"]}


def test_agent_error_that_is_not_the_drivers_is_the_labs() -> None:
    event = kinds.AgentError("payload", "x")
    with pytest.raises(AgentError):
        run.driver_error(event)


def test_interrupt_leaves_nothing_running(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from conformance.tests.lab.guest import test_guest as t\n"
        "from conformance.lab.guest.qemu import run_folder\n"
        "place = Path(sys.argv[1])\n"
        "with run_folder(place) as files:\n"
        "    print(files.folder, flush=True)\n"
        "    t.play('never answers', files)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().decode().strip())
        deadline = time.monotonic() + 10
        while not processes(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert processes(tmp_path) == []
    assert not folder.exists()
    assert list((tmp_path / "snapshots").iterdir()) == []
