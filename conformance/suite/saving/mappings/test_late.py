# SPDX-License-Identifier: GPL-2.0-only
"""While a device is saved: what can still be mapped, and how the rest is reached."""

import contextlib
from collections.abc import Callable
from errno import EBUSY, EFAULT

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.model.layout import PAGE
from conformance.plugin.checks import expect_equal, expect_errno, expect_success
from conformance.plugin.declared import Scratch
from conformance.suite.conftest import Find
from conformance.suite.support.cases import ALL_STAGES, SAVING_STAGES, by_stage
from conformance.suite.support.msix import hidden_bytes
from conformance.suite.support.windows import layout_of
from conformance.uapi import mman
from conformance.vfio.children.children import Child
from conformance.vfio.device import Device
from conformance.vfio.memory import libc
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.region import Region

NOT_SAVING = by_stage(stage for stage in Stage if not stage.saving)


@pytest.mark.rule("saving.late-mmap")
@pytest.mark.parametrize("patterns", [("C",), ("fC", "CC"), ("Cf", "CC")], ids=lambda each: each[0])
@SAVING_STAGES
def test_outside(saver: Saver, window: Find, stage: Stage, patterns: tuple[str, ...]) -> None:
    """Map a page outside the saving areas, or across their edge, while saving: EBUSY."""
    saver.reach(stage)
    found = window(*patterns)
    with expect_errno(EBUSY, did=f"mmap {patterns[0]} in {stage.value}") as call:
        call.result = found.map()
    expect_equal(saver.stage, stage, did="read the state after that")


@pytest.mark.rule("saving.late-mmap")
@pytest.mark.parametrize("prot", [mman.PROT_READ, mman.PROT_WRITE, mman.PROT_NONE])
def test_outside_with_any_protection(saver: Saver, window: Find, prot: int) -> None:
    """Map a page outside the saving areas with other protections while saving: EBUSY."""
    found = window("C")
    saver.enter(saver.first)
    with expect_errno(EBUSY, did=f"mmap with protection {prot} while saving") as call:
        call.result = found.map(prot=prot)
    expect_equal(saver.stage, saver.first, did="read the state after that")


@pytest.mark.rule("saving.late-mmap")
@SAVING_STAGES
def test_inside(saver: Saver, saving_regions: list[Region], stage: Stage) -> None:
    """Map each saving area while saving: it works, and stays out of the way."""
    saver.reach(stage)
    areas = [(region, area) for region in saving_regions for area in layout_of(region).free]
    for region, (offset, size) in areas:
        with expect_success(did=f"mmap {region.name} {offset:#x}+{size:#x} in {stage.value}"):
            region.map(offset, size).close()
    expect_equal(saver.stage, stage, did="read the state after that")


@pytest.mark.rule("saving.late-mmap")
def test_outside_after_precopy(saver: Saver, window: Find) -> None:
    """Go from pre-copy to stop-and-copy, map a page outside: EBUSY in both, then not."""
    found = window("C")
    for stage in (saver.first, Stage.STOP_COPY):
        saver.enter(stage)
        with expect_errno(EBUSY, did=f"mmap a page outside in {stage.value}") as call:
            call.result = found.map()
    saver.enter(Stage.RUNNING)
    with expect_success(did="let it run, mmap the same page"):
        found.map().close()


@pytest.mark.rule("saving.late-mmap")
def test_outside_in_another_process(saver: Saver, window: Find, child: Callable[[], Child]) -> None:
    """Map a page outside the saving areas in another process while saving: EBUSY."""
    found, other = window("C"), child()
    saver.enter(saver.first)
    with expect_errno(EBUSY, did="mmap a page outside in another process while saving") as call:
        call.result = other.map(found.region, found.offset, found.size)
    expect_equal(saver.stage, saver.first, did="read the state after that")


@pytest.mark.rule("saving.late-mmap")
def test_outside_by_remap_file_pages(saver: Saver, window: Find) -> None:
    """Let a page inside the areas become one outside while saving: EBUSY, or not possible."""
    inside, outside = window("f"), window("C")
    page = (outside.region.offset + outside.offset) // PAGE
    saver.enter(saver.first)
    with inside.map() as mapping, expect_errno(did="remap_file_pages() to a page outside"):
        libc.remap_file_pages(mapping.address, PAGE, page)
    expect_equal(saver.stage, saver.first, did="read the state after that")


@pytest.mark.rule("saving.late-mmap")
def test_refused_mmap_leaves_no_trace(saver: Saver, window: Find) -> None:
    """Be refused a mapping while saving, go back, save again: nothing is counted."""
    found = window("C")
    saver.enter(saver.first)
    for _ in range(10):
        with contextlib.suppress(OSError):
            found.map().close()
    saver.enter(Stage.RUNNING)
    with expect_success(did="save again after ten mappings were refused"):
        saver.enter(saver.first)


@pytest.mark.rule("saving.trapped-access")
@ALL_STAGES
def test_trapped_read(saver: Saver, conflicting_regions: list[Region], stage: Stage) -> None:
    """Read all of the trapped ranges by read() in each stage: every byte comes."""
    saver.reach(stage)
    for region, (offset, size) in _trapped(conflicting_regions):
        with expect_success(did=f"read {region.name} {offset:#x}+{size:#x} in {stage.value}"):
            region.read_exact(offset, size)


def _trapped(regions: list[Region]) -> list[tuple[Region, tuple[int, int]]]:
    return [(region, part) for region in regions for part in layout_of(region).restricted]


@pytest.mark.rule("saving.trapped-access")
@pytest.mark.parametrize("stage", NOT_SAVING, indirect=True)
def test_trapped_read_agrees_with_a_mapping(
    device: Device, saver: Saver, conflicting_regions: list[Region], stage: Stage
) -> None:
    """Read the trapped ranges by read() and through a mapping: the same registers."""
    saver.reach(stage)
    for region, (offset, size) in _trapped(conflicting_regions):
        hidden = hidden_bytes(device, region)
        with region.map(offset, size) as mapping:
            before = region.read_exact(offset, size)
            seen = [mapping.load(at) for at in range(0, size, 4)]
            after = region.read_exact(offset, size)
        moved = [
            f"{offset + at:#x}"
            for at in range(0, size, 4)
            if before[at : at + 4] == after[at : at + 4] != seen[at // 4].to_bytes(4, "little")
            and offset + at not in hidden
        ]
        expect_equal(moved, [], did=f"read {region.name} both ways in {stage.value}")


@pytest.mark.rule("saving.trapped-access")
@ALL_STAGES
def test_trapped_write(saver: Saver, trapped_places: list[Scratch], stage: Stage) -> None:
    """Write registers of trapped ranges by write() in each stage: each takes and keeps it."""
    saver.reach(stage)
    for at, place in enumerate(trapped_places):
        value = (0x35C6A9B8 ^ (at * 0x01010101)) & place.mask
        place.write(value)
        expect_equal(place.read(), value, did=f"write {value:#x} at {place.offset:#x}, read it")


@pytest.mark.rule("saving.bad-buffer")
@ALL_STAGES
def test_trapped_access_without_a_buffer(
    saver: Saver, trapped_places: list[Scratch], stage: Stage
) -> None:
    """Read and write trapped registers with a bad buffer in each stage: EFAULT, nothing changes."""
    saver.reach(stage)
    before = [place.read() for place in trapped_places]
    for place in trapped_places:
        for access in (place.region.write_from, place.region.read_to):
            with expect_errno(EFAULT, did=f"access {place.offset:#x}, no buffer") as call:
                call.result = access(libc.NOWHERE, place.offset, 4)
    now = [place.read() for place in trapped_places]
    expect_equal(
        now, before, did=f"access trapped registers in {stage.value}, no buffer, read them"
    )
    expect_equal(saver.stage, stage, did="read the state after that")


@pytest.mark.rule("saving.bad-buffer")
@ALL_STAGES
def test_half_a_buffer(saver: Saver, trapped_places: list[Scratch], stage: Stage) -> None:
    """Access trapped registers with two bytes of a buffer in each stage: EFAULT, none changes."""
    saver.reach(stage)
    before = [place.read() for place in trapped_places]
    with anonymous(2 * PAGE) as memory:
        memory.write(PAGE - 2, b"\x96\x3c")
        memory.mprotect(PAGE, PAGE, mman.PROT_NONE)
        for place in trapped_places:
            for access in (place.region.write_from, place.region.read_to):
                did = f"access {place.offset:#x} in {stage.value}, half a buffer"
                with expect_errno(EFAULT, did=did) as call:
                    call.result = access(memory.address + PAGE - 2, place.offset, 4)
    now = [place.read() for place in trapped_places]
    expect_equal(now, before, did=f"access registers in {stage.value}, half a buffer, read them")


@pytest.mark.rule("saving.trapped-access")
def test_trapped_write_is_seen_by_a_mapping(saver: Saver, trapped_places: list[Scratch]) -> None:
    """Write trapped registers while saving, give up, map: the mapping shows the values."""
    saver.enter(saver.first)
    for place in trapped_places:
        place.write(0x4D5E6F70 & place.mask)
    saver.enter(Stage.RUNNING)
    for place in trapped_places:
        with place.region.map(place.offset - place.offset % PAGE, PAGE) as mapping:
            value = mapping.load(place.offset % PAGE) & place.mask
        expect_equal(value, place.read(), did=f"read {place.offset:#x} both ways")
        expect_equal(value, 0x4D5E6F70 & place.mask, did=f"read {place.offset:#x} by mapping")
