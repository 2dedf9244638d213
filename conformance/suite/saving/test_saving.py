# SPDX-License-Identifier: GPL-2.0-only
"""The saving layout: its capability, the refusal, and what is accepted."""

from errno import EBUSY

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.model.layout import PAGE, form_errors, outside
from conformance.plugin.checks import expect_equal, expect_success
from conformance.plugin.declared import Place, Scratch
from conformance.suite.conftest import Find
from conformance.suite.support.cases import SAVING_STAGES
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.steps import expect_refused, expect_taken, expect_whole, set_apart
from conformance.suite.support.windows import Window, find, layout_of, whole
from conformance.vfio.device import Device
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.region import Region


@pytest.mark.rule("saving.capability")
def test_capability(saving_regions: list[Region]) -> None:
    """Look at each saving layout: version 1, with a run-time layout, on a mappable region."""
    wrong = [
        (region.name, region.saving.version, region.mappable, region.sparse is not None)
        for region in saving_regions
        if region.saving and not (region.saving.version == 1 and region.mappable and region.sparse)
    ]
    expect_equal(wrong, [], did="read (region, version, can be mapped, has a run-time layout)")


@pytest.mark.rule("saving.capability")
def test_trapped(device: Device, trapped: tuple[Place, ...]) -> None:
    """Look for registers that the driver must see while saving: none of them may be mapped."""
    open_to_all = [
        str(place)
        for place in trapped
        for layout in [layout_of(device.region(place.bar))]
        for page in [(place.offset // PAGE * PAGE, PAGE)]
        if layout.mappable(page) and not layout.conflicts(page)
    ]
    expect_equal(open_to_all, [], did="look for trapped registers in what may stay mapped")


@pytest.mark.rule("saving.capability")
def test_unrestricted_regions(saver: Saver, mappable_regions: list[Region]) -> None:
    """Map all of every region without the capability, begin to save: it succeeds."""
    mappings = [
        region.map_area(area)
        for region in mappable_regions
        if not region.saving
        for area in region.runtime_areas
    ]
    with expect_success(did=f"save with {len(mappings)} unrestricted areas mapped"):
        saver.enter(saver.first)
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving.capability")
def test_unrestricted_regions_while_saving(saver: Saver, mappable_regions: list[Region]) -> None:
    """Map regions without the capability while saving: mmap() takes all of them."""
    saver.enter(saver.first)
    areas = [(r, area) for r in mappable_regions if not r.saving for area in r.runtime_areas]
    for region, area in areas:
        with expect_success(did=f"mmap {region.name} {area} while saving"):
            region.map_area(area).close()


@pytest.mark.rule("saving.form")
def test_form(saving_regions: list[Region]) -> None:
    """Read the saving layouts: each is well formed."""
    wrong = [
        f"{region.name}: {error}"
        for region in saving_regions
        if region.saving
        for error in form_errors(region.saving.areas, region.size)
    ]
    expect_equal(wrong, [], did="read the saving layouts")


@pytest.mark.rule("saving.form")
def test_inside_the_runtime_layout(saving_regions: list[Region]) -> None:
    """Compare the two layouts of each region: no saving area leaves the run-time areas."""
    wrong = [
        f"{region.name}: [{offset:#x}, {offset + size:#x})"
        for region in saving_regions
        if region.saving
        for offset, size in outside(region.saving.areas, region.runtime_areas)
    ]
    expect_equal(wrong, [], did="look for saving areas outside the run-time layout")


@pytest.mark.rule("saving.refuse")
@pytest.mark.parametrize("pattern", ["a-page", "all"])
@SAVING_STAGES
def test_refuse(
    saver: Saver, conflicting_regions: list[Region], stage: Stage, pattern: str
) -> None:
    """Begin to save while a page, or all, of a region is mapped: EBUSY, the state stays."""
    region = conflicting_regions[0]
    found = whole(region) if pattern == "all" else find([region], "C")
    assert found
    with found.map() as mapping:
        expect_refused(saver, stage, EBUSY, why=f"{mapping} mapped")


@pytest.mark.rule("saving.refuse")
def test_refuse_again_and_again(saver: Saver, conflict: Mapping) -> None:
    """Try a hundred times: EBUSY each time, as long as the mapping is there."""
    ways = (saver.first, Stage.STOP_COPY)
    seen = {saver.attempt(ways[turn % 2]) for turn in range(100)}
    expect_equal(seen, {EBUSY}, did=f"begin to save a hundred times with {conflict} mapped")
    expect_equal(saver.stage, Stage.RUNNING, did="read the state after that")


@pytest.mark.rule("saving.refuse-pure")
@SAVING_STAGES
def test_nothing_was_started(saver: Saver, conflict: Mapping, stage: Stage) -> None:
    """Be refused: everything that can be asked is answered as before."""
    before = saver.probe()
    expect_refused(saver, stage, EBUSY, why=f"{conflict} mapped")
    expect_equal(saver.probe(), before, did="ask for state and data before and after")


@pytest.mark.rule("saving.refuse-pure")
@SAVING_STAGES
def test_registers_stay(
    saver: Saver, scratch: list[Scratch], conflict: Mapping, stage: Stage
) -> None:
    """Be refused: the registers keep their values, and take new ones."""
    written = set_apart(scratch, 0x0F1E2D3C)
    expect_refused(saver, stage, EBUSY, why=f"{conflict} mapped")
    expect_equal([place.read() for place in scratch], written, did="read the registers after it")
    again = set_apart(scratch, 0x1A2B3C4D)
    expect_equal([place.read() for place in scratch], again, did="write and read other values")


@pytest.mark.rule("saving.refuse-pure")
def test_save_after_a_refusal(saver: Saver, window: Find) -> None:
    """Be refused, unmap, save: the stream is whole."""
    with window("C").map():
        expect_refused(saver, saver.first, EBUSY)
        expect_refused(saver, Stage.STOP_COPY, EBUSY)
    expect_whole(saver, saver.save(), did="be refused, unmap, save")


@pytest.mark.rule("saving.accept")
@SAVING_STAGES
@pytest.mark.usefixtures("saving_regions")
def test_accept_without_mappings(saver: Saver, stage: Stage) -> None:
    """Begin to save with nothing mapped: it succeeds."""
    expect_taken(saver, stage, why="with nothing mapped")


@pytest.mark.rule("saving.accept")
@SAVING_STAGES
def test_accept_inside(saver: Saver, saving_regions: list[Region], stage: Stage) -> None:
    """Map every saving area of every region and add _SAVING: it succeeds."""
    areas = [Window(r, *area) for r in saving_regions for area in layout_of(r).free]
    mappings = [area.map() for area in areas]
    expect_taken(saver, stage, why=f"with the {len(areas)} saving areas mapped")
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving.accept")
@SAVING_STAGES
def test_accept_after_unmapping(saver: Saver, window: Find, stage: Stage) -> None:
    """Be refused, unmap the conflict, try at once: it succeeds."""
    with window("C").map():
        expect_refused(saver, stage, EBUSY)
    expect_taken(saver, stage, why="after the conflict was unmapped")


@pytest.mark.rule("saving.accept")
def test_accept_when_the_last_goes(mappings: Mappings, window: Find) -> None:
    """Map a page five times, unmap one after the other: it succeeds after the last."""
    found = window("C")
    for held in [mappings.map(found) for _ in range(5)]:
        mappings.judge("some of five mappings are left")
        mappings.munmap(held)
    mappings.judge("the last of five mappings was unmapped")
