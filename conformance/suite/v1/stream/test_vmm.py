# SPDX-License-Identifier: GPL-2.0-only
"""What a virtual machine monitor does with a device in its whole life, in the monitor's order."""

import time
from collections.abc import Callable

import pytest

from conformance.migration.errors import StateError
from conformance.migration.v1.vmm import Vmm
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, fail
from conformance.plugin.declared import Scratch
from conformance.plugin.fixtures import Side
from conformance.suite.support.steps import set_apart
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.pci import config
from conformance.vfio.pci.config import Config
from conformance.vfio.pci.interrupts import Vectors
from conformance.vfio.system import sysfs

Change = Callable[[], None]


def _live(vmm: Vmm, change: Change) -> None:
    vmm.start()
    vmm.iterate()
    change()
    vmm.stop()


def _paused(vmm: Vmm, change: Change) -> None:
    change()
    vmm.pause()
    vmm.start()
    vmm.iterate()
    vmm.complete()


def _snapshot(vmm: Vmm, change: Change) -> None:
    change()
    vmm.pause_for_snapshot()
    vmm.start()
    vmm.complete()


def _paused_in_precopy(vmm: Vmm, change: Change) -> None:
    vmm.start()
    vmm.iterate(1)
    change()
    vmm.pause()
    vmm.iterate()
    vmm.complete()


def _continued_in_precopy(vmm: Vmm, change: Change) -> None:
    vmm.start()
    vmm.iterate()
    vmm.pause()
    vmm.iterate()
    vmm.run()
    vmm.iterate()
    change()
    vmm.stop()


def _reset_in_precopy(vmm: Vmm, change: Change) -> None:
    vmm.start()
    vmm.iterate()
    vmm.reset_machine()
    vmm.pending()
    vmm.iterate()
    change()
    vmm.stop()


def _reset_and_paused(vmm: Vmm, change: Change) -> None:
    vmm.start()
    vmm.reset_machine()
    change()
    vmm.pause()
    vmm.pending()
    vmm.complete()


#: What becomes of a source, and the rule that it is about.
SAVES = [
    pytest.param(save, id=name, marks=pytest.mark.rule(*rules))
    for name, rules, save in (
        ("live", ("save.precopy", "state.arc-vmm.same"), _live),
        ("paused", ("state.arc-vmm.0-2",), _paused),
        ("snapshot", ("state.arc-vmm.same", "state.stop-optional"), _snapshot),
        ("paused-in-pre-copy", ("save.precopy", "state.arc-vmm.same"), _paused_in_precopy),
        ("continued-in-pre-copy", ("save.whole-again", "state.arc-vmm.2-1"), _continued_in_precopy),
        ("reset-in-pre-copy", ("state.arc-vmm.0-2", "save.outside"), _reset_in_precopy),
        ("reset-and-paused", ("state.arc-vmm.0-2",), _reset_and_paused),
    )
]


@pytest.mark.parametrize("save", SAVES)
def test_migrate(
    sides: tuple[Side, Side],
    scratch: list[Scratch],
    scratch_there: list[Scratch],
    save: Callable[[Vmm, Change], None],
) -> None:
    """Boot, save in one of the monitor's ways, load: the destination has the last registers."""
    source, destination = (side.vmm() for side in sides)
    source.boot()
    set_apart(scratch, 0x31415926)
    last: list[int] = []
    with expect_success(did="drive a source as the monitor does"):
        save(source, lambda: last.extend(set_apart(scratch, 0x27182818)))
    destination.boot()
    with expect_success(did="load the destination as the monitor does"):
        destination.load(source.stream)
    now = [place.read() for place in scratch_there]
    expect_equal(now, last, did="migrate, read the registers at the destination")


@pytest.mark.parametrize("save", SAVES)
def test_source_goes_on(
    source: Side, scratch: list[Scratch], save: Callable[[Vmm, Change], None]
) -> None:
    """Save in one of the monitor's ways, let the source run on: its registers are untouched."""
    vmm, last = source.vmm(), list[int]()
    vmm.boot()
    save(vmm, lambda: last.extend(set_apart(scratch, 0x16180339)))
    with expect_success(did="save, then let the source run on"):
        vmm.run()
    now = [place.read() for place in scratch]
    expect_equal(now, last, did="save, let the source run on, read its registers")
    vmm.shut_down()
    expect_equal(source.migration.state, State.STOPPED, did="shut the machine down")


@pytest.mark.rule("resume.sequence", "state.keeps-config")
@pytest.mark.parametrize("seconds", [0, 0.3])
def test_destination_order(
    sides: tuple[Side, Side],
    scratch: list[Scratch],
    scratch_there: list[Scratch],
    seconds: float,
) -> None:
    """Load, unmap, write config space, enable MSI-X, run now or later: the registers are there."""
    source, destination = sides
    written = set_apart(scratch, 0x57721566)
    stream, vmm = source.vmm().save(), destination.vmm()
    vmm.boot()
    with expect_success(did="load as the monitor does, run after config space and MSI-X"):
        _load(vmm, stream)
        expect_equal(_set_up(destination, seconds), 0, did="read what of COMMAND was not kept")
        vmm.load_stop()
    now = [place.read() for place in scratch_there]
    expect_equal(now, written, did="migrate, read the registers at the destination")


def _load(vmm: Vmm, stream: list[bytes]) -> None:
    vmm.load_start()
    for chunk in stream:
        vmm.load_chunk(chunk)
    vmm.load_end()


def _set_up(side: Side, seconds: float) -> int:
    """Write config space and enable MSI-X, as for a machine that will run; wait.

    Returns which bits of the command register do not read as written.
    """
    space, wanted = Config(side.device), config.MASTER | config.MEMORY
    space.set_command(on=wanted)
    if sysfs.is_pci(side.device.bdf) and space.capability(config.MSIX) is not None:
        with Vectors(side.device, 1):
            time.sleep(seconds)
    else:
        time.sleep(seconds)
    return wanted & ~space.command


@pytest.mark.rule("saving.refuse-pure")
@pytest.mark.usefixtures("conflict")
def test_after_a_refusal(source: Side, conflict: Mapping) -> None:
    """Have the start refused, read the state, write _RUNNING, unmap, start: the save is whole."""
    vmm = source.vmm()
    with expect_errno(did="start to save while a mapping conflicts"):
        vmm.start()
    with expect_success(did="after the refusal read the state and write _RUNNING"):
        vmm.recover()
    conflict.close()
    with expect_success(did="unmap, save, load"):
        stream = vmm.save()
        vmm.run()
        source.vmm().load(stream)


@pytest.mark.rule("resume.invalid")
def test_a_failed_load_is_reported(source: Side, stream: list[bytes]) -> None:
    """Load a cut stream: the monitor gets an error, and no write of its own helps it out of 6."""
    vmm = source.vmm()
    with expect_errno(did="load a cut stream"):
        vmm.load([*stream[:-1], stream[-1][:-1]])
    if source.migration.state != State.ERROR:
        pytest.skip("this device does not show the error state after a failed resume")
    try:
        vmm.give_up()
    except StateError:
        vmm.boot()
    else:
        fail(did="give up in state 6", expected="the monitor aborts", actual="it goes on")
    expect_equal(source.migration.state, State.RUNNING, did="boot anew")


@pytest.mark.rule("state.reset")
def test_boot_and_end(source: Side) -> None:
    """Boot and end a machine three times: each write of 1 and of 0 succeeds."""
    vmm = source.vmm()
    for _ in range(3):
        with expect_success(did="reset, write 1, write 0"):
            vmm.boot()
            vmm.shut_down()
        expect_equal(source.migration.state, State.STOPPED, did="reset, write 1, write 0")
        vmm.run()


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(begin, id=name, marks=pytest.mark.rule(rule))
        for name, rule, begin in (
            ("3->1", "state.arc-vmm.3-1", lambda vmm: vmm.start()),
            ("2->1", "state.arc-vmm.2-1", lambda vmm: (vmm.start(), vmm.pause())),
            ("0->1", "state.arc-vmm.0-1", lambda vmm: (vmm.start(), vmm.stop())),
        )
    ],
)
def test_give_up(source: Side, scratch: list[Scratch], begin: Callable[[Vmm], object]) -> None:
    """Begin to save, give it up: registers are untouched, and the next save is whole."""
    vmm, written = source.vmm(), set_apart(scratch, 0x14142135)
    with expect_success(did="begin to save, give it up"):
        begin(vmm)
        vmm.iterate(1) if vmm.migration.state in (2, 3) else None
        vmm.give_up()
    expect_equal([place.read() for place in scratch], written, did="give up, read registers")
    with expect_success(did="give up, save, load"):
        stream = vmm.save()
        vmm.run()
        source.vmm().load(stream)
