# SPDX-License-Identifier: GPL-2.0-only
"""Brings up a guest that waits for its order: restores a snapshot if there is one, or boots.

There are two snapshots: one of the machine that has booted, and one of the same machine that has
collected the suite as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from conformance.errors import ConformanceError, GuestLost, LabError, QemuError
from conformance.lab.guest import payload
from conformance.lab.guest.guest import Guest
from conformance.lab.guest.plug import served
from conformance.lab.guest.qemu import running
from conformance.lab.machine import accel
from conformance.lab.machine.argv import PAYLOAD_SIZE, RunFiles
from conformance.lab.machine.lab import Lab
from conformance.running import locked, paths
from conformance.running.steps import Steps
from kpatch.tools import programs

BOOT_TIMEOUT = 120.0
"""Seconds a guest may take to boot; without KVM it takes about ten."""

_WAKE_TIMEOUT = 20.0
"""Seconds a restored guest may take to answer; usually 0.1."""

_KEPT = 3
"""Snapshots kept per machine and image, so that switching back and forth stays quick."""

_STATE = "state"


_LOAD_TIMEOUT = 300.0
"""Seconds a guest may take to collect the suite; without KVM it takes about ten."""


@contextlib.contextmanager
def ready_guest(
    lab: Lab, files: RunFiles, steps: Steps, *, kit: Path | None = None, cold: bool = False
) -> Iterator[Guest]:
    """Run a guest that has come up and waits for its order.

    Args:
        lab: What to run.
        files: The files of the run; without a kit its payload must be there.
        steps: Prints the steps.
        kit: The guest's part of the kit, whose suite it has collected then; its payload is to be
            written afterwards, and need not have the kit.
        cold: Whether to boot even if there is a snapshot.

    Raises:
        GuestLost: The guest did not come up.
        LabError: QEMU or the guest's own programs failed.
    """
    with served(lab.machine, files) as functions, contextlib.ExitStack() as stack:
        guest = None
        if kit:
            guest = _with_suite(lab, files, kit, steps, stack, cold=cold)
        elif not cold:
            guest = _restored(lab, lab.snapshot, files, steps, stack)
        if guest is None:
            guest = _booted(lab, files, steps, stack)
        functions.plug(guest.monitor)
        yield guest


def dry(lab: Lab, files: RunFiles, steps: Steps, *, cold: bool) -> None:
    """Print how the guest would be started."""
    programs.run(["mkdir", "-p", str(files.folder), str(files.logs)])
    programs.run(["truncate", "--size", str(PAYLOAD_SIZE), str(files.payload)])
    restore = not cold and (lab.snapshot / _STATE).exists()
    with served(lab.machine, files), programs.start(lab.argv(files, incoming=restore)):
        if restore:
            steps.say(
                "The monitor turns on QEMU's migration capability mapped-ram, "
                f"to migrate-incoming from the file {lab.snapshot / _STATE}, and to cont."
            )


def _with_suite(
    lab: Lab, files: RunFiles, kit: Path, steps: Steps, stack: contextlib.ExitStack, *, cold: bool
) -> Guest:
    """Return a guest that has collected the suite, and leave a snapshot of it for the next time."""
    target = lab.snapshot.parent / "suites" / f"{lab.snapshot.name}-{kit.name}"
    payload.write(files.payload)  # QEMU wants a disk when it starts; what is on it comes later
    if not cold and (guest := _restored(lab, target, files, steps, stack)):
        return guest
    payload.write(files.payload, kit=kit)
    place = _part(target, stack)
    writable = [place] if place else []
    guest = None if cold else _restored(lab, lab.snapshot, files, steps, stack, writable=writable)
    if guest is None:
        guest = _booted(lab, files, steps, stack, writable)
    steps.say("The guest collects the suite; that is kept until a file of the kit changes.")
    with steps.step("collect"):
        guest.order("load")
        guest.wait_ready(_LOAD_TIMEOUT)
    if place:
        with steps.step("snapshot"):
            _write(guest, place, target, _alike(lab), steps)
    return guest


def _restored(
    lab: Lab,
    snapshot: Path,
    files: RunFiles,
    steps: Steps,
    stack: contextlib.ExitStack,
    *,
    writable: Sequence[Path] = (),
) -> Guest | None:
    """Return a guest from a snapshot, or None if there is none that works."""
    state = snapshot / _STATE
    if not state.exists():
        return None
    with contextlib.ExitStack() as trial:
        try:
            with steps.step("restore"):
                guest = trial.enter_context(
                    running(lab.argv(files, incoming=True, writable=writable), files)
                )
                guest.monitor.read_snapshot(state)
                guest.order("wake")
                guest.wait_ready(_WAKE_TIMEOUT)
            state.parent.touch()  # it was used: others are older
        except (QemuError, GuestLost, LabError) as error:
            steps.say(f"The snapshot does not work any more; booting instead. {_first(error)}")
            locked.remove(snapshot)
            return None
        steps.say("The lab was restored from its snapshot.")
        stack.push(trial.pop_all())
        return guest


def _booted(
    lab: Lab,
    files: RunFiles,
    steps: Steps,
    stack: contextlib.ExitStack,
    writable: Sequence[Path] = (),
) -> Guest:
    """Boot, and leave a snapshot for the next time."""
    steps.say(f"Booting the lab ({lab.accelerator}) ...")
    try:
        return _boot(lab, files, steps, stack, writable)
    except GuestLost as error:
        if lab.accelerator != "kvm":
            raise
        steps.say(f"The lab does not boot with KVM; trying without. {_first(error)}")
        stack.close()
        accel.distrust(lab.emulator.sandbox)
        return _boot(replace(lab, accelerator="tcg"), files, steps, stack, writable)


def _boot(
    lab: Lab,
    files: RunFiles,
    steps: Steps,
    stack: contextlib.ExitStack,
    writable: Sequence[Path],
) -> Guest:
    place = _part(lab.snapshot, stack)
    writable = [*writable, place] if place else writable
    with _alone(lab, steps), steps.step("boot"):
        guest = stack.enter_context(running(lab.argv(files, writable=writable), files))
        guest.wait_ready(BOOT_TIMEOUT)
    if place:
        with steps.step("snapshot"):
            _write(guest, place, lab.snapshot, _alike(lab), steps)
    return guest


@contextlib.contextmanager
def _alone(lab: Lab, steps: Steps) -> Iterator[None]:
    """Wait until no other guest boots: two emulated guests disturb each other's timers.

    A guest calibrates its clocks only at boot; a snapshot keeps that calibration.
    """
    if lab.accelerator == "kvm" or programs.dry():
        yield
        return
    with locked.lock(
        paths.cache() / "boot.lock", lambda: steps.say("Another guest is booting; waiting for it.")
    ):
        yield


def _part(target: Path, stack: contextlib.ExitStack) -> Path | None:
    """Return a folder for a snapshot that is removed unless it is given its name."""
    part = target.parent / locked.part_name(target.name)
    try:
        part.mkdir(parents=True)
    except OSError:
        return None
    stack.callback(locked.remove, part)
    return part


def _write(guest: Guest, part: Path, target: Path, alike: str, steps: Steps) -> None:
    """Write a snapshot and let the guest go on. A run does not need it."""
    try:
        guest.monitor.write_snapshot(part / _STATE)
        guest.monitor.execute("cont")
    except QemuError as error:
        # The guest itself is as good as before, unless the monitor is gone as well.
        steps.say(f"Cannot write the snapshot; the next run will boot. {_first(error)}")
        guest.monitor.execute("cont")
        return
    locked.remove(target)
    part.rename(target)
    _prune(target.parent, alike)


def _prune(folder: Path, alike: str) -> None:
    """Remove old snapshots of those that are alike."""
    for old in sorted(folder.glob(alike), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        locked.remove(old)


def _alike(lab: Lab) -> str:
    """Return the pattern of the names of all snapshots of the same machine and image."""
    return f"{lab.snapshot.name.rpartition('-')[0]}-*"


def _first(error: ConformanceError) -> str:
    return str(error).splitlines()[0]
