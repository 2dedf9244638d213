# SPDX-License-Identifier: GPL-2.0-only
"""The command register of a function that is stopped: what a driver changes in it is hidden."""

import mmap

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Scratch
from conformance.suite.support.cases import by_stage
from conformance.suite.support.msix import hidden_bytes
from conformance.suite.support.power import decoding_off
from conformance.suite.support.steps import set_apart
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.pci import resets
from conformance.vfio.pci.config import COMMAND, MASTER, MEMORY, SIZE, Config
from conformance.vfio.region import Region

pytestmark = pytest.mark.rule("info.command")

#: Ways to read the lower byte of the register: where, how many bytes.
READS = ((4, 1), (4, 2), (4, 4), (3, 2), (2, 4), (0, 8), (0, SIZE))
#: Accesses that end before it or begin behind it, to what cannot be written or is written as it is.
BESIDE = ((0, 4), (2, 2), (3, 1), (0, 1), (8, 4), (9, 1), (0x3C, 1))
#: Where in a page the buffer of these is.
PLACE = 1 << 11
WIDTH = 4
STANDING = pytest.mark.parametrize(
    "stage", by_stage((Stage.STOPPED, Stage.STOP_COPY)), indirect=True
)


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
@STANDING
def test_reads(saver: Saver, space: Config, stage: Stage, *, on: bool) -> None:
    """Set or clear bus master, stop the device: it reads as it was set, in every way."""
    space.set_command(on=MEMORY | MASTER * on, off=MASTER * (not on))
    saver.enter(stage)
    seen = {
        (at, size): bool(space.region.read(at, size)[COMMAND - at] & MASTER) for at, size in READS
    }
    wrong = [way for way, value in seen.items() if value is not on]
    expect_equal(wrong, [], did=f"read bus master in {stage.value}, (offset, size) that are wrong")


@STANDING
def test_accesses_beside_it(saver: Saver, space: Config, stage: Stage) -> None:
    """Read and write what is beside the register: no memory beside the buffer, no bus master."""
    space.set_command(on=MEMORY | MASTER)
    saver.enter(stage)
    with anonymous(mmap.PAGESIZE) as memory:
        for at, size in BESIDE:
            memory.write(PLACE, bytes(WIDTH))
            space.region.read_to(memory.address + PLACE, at, size)
            rest = memory.read(0, PLACE) + memory.read(PLACE + size, PLACE - size)
            expect_equal(any(rest), False, did=f"read {at:#x}+{size}: is other memory written?")
            space.region.write_from(memory.address + PLACE, at, size)
    saver.enter(Stage.RUNNING)
    now = bool(space.command & MASTER)
    expect_equal(now, True, did="write what is beside the register, run, read bus master")


def test_registers_are_not_config(
    saver: Saver, space: Config, conflicting_regions: list[Region]
) -> None:
    """Read the first registers of a stopped device with bus master: as by a mapping."""
    space.set_command(on=MEMORY | MASTER)
    saver.enter(Stage.STOPPED)
    for region in conflicting_regions:
        with region.map(0, mmap.PAGESIZE) as mapping:
            for at in {0, WIDTH} - set(hidden_bytes(saver.device, region)):
                wanted = mapping.load(at)
                now = region.read_int(at)
                expect_equal(now, wanted, did=f"stop, read {region.name}+{at:#x}, and by a mapping")


def test_no_reset_sets_it(saver: Saver, space: Config, way: str) -> None:
    """Stop and run with bus master, clear it, reset: it is still off."""
    space.set_command(on=MEMORY | MASTER)
    saver.enter(Stage.STOPPED)
    saver.enter(Stage.RUNNING)
    space.set_command(off=MASTER)
    resets.WAYS[way](saver.device)
    now = bool(space.command & MASTER)
    expect_equal(now, False, did=f"stop, run, clear bus master, reset by {way}, read it")


def _answer(place: Scratch) -> int:
    """Read a register; return the declared bits, or the errno as a negative number."""
    try:
        return place.read()
    except OSError as error:
        return -(error.errno or 0)


@STANDING
def test_decoding_stays_off(
    saver: Saver, space: Config, scratch: list[Scratch], stage: Stage
) -> None:
    """Switch memory decoding off, stop the device: registers answer as before, if at all."""
    set_apart(scratch, 0x0135A79C)
    with decoding_off(space):
        before = [_answer(place) for place in scratch]
        saver.enter(stage)
        now = [_answer(place) for place in scratch]
    did = f"switch decoding off, {saver.words(stage)}, read registers before and after"
    expect_equal(now, before, did=did)
