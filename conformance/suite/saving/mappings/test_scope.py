# SPDX-License-Identifier: GPL-2.0-only
"""What mappings must not get in the way of, which regions count, and users who know nothing."""

from errno import EBUSY

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal, expect_success
from conformance.plugin.declared import Scratch
from conformance.suite.conftest import need
from conformance.suite.support.cases import SAVING_STAGES
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.steps import expect_refused, set_apart
from conformance.suite.support.windows import whole
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.pci import resets
from conformance.vfio.region import Region

#: Ways into saving and out of it.
EXITS = {
    "stop-copy-running": (Stage.STOP_COPY, Stage.RUNNING),
    "pre-copy-running": (Stage.PRE_COPY, Stage.RUNNING),
    "stop-copy-stopped": (Stage.STOP_COPY, Stage.STOPPED),
    "pre-copy-stop-copy-stopped": (Stage.PRE_COPY, Stage.STOP_COPY, Stage.STOPPED),
}


@pytest.mark.rule("saving.after")
@pytest.mark.parametrize("way", EXITS)
def test_after(saver: Saver, saving_regions: list[Region], way: str) -> None:
    """Leave the saving states: the whole run-time layout can be mapped again."""
    need(saver, EXITS[way][0])
    for stage in EXITS[way]:
        saver.enter(stage)
    for region, area in [(r, area) for r in saving_regions for area in r.runtime_areas]:
        with expect_success(did=f"{way}, mmap {region.name} {area}"):
            region.map_area(area).close()


@pytest.mark.rule("saving.after")
@SAVING_STAGES
def test_after_reset(saver: Saver, saving_regions: list[Region], stage: Stage) -> None:
    """Reset while saving: the whole run-time layout can be mapped again."""
    saver.enter(stage)
    saver.device.reset()
    for region, area in [(r, area) for r in saving_regions for area in r.runtime_areas]:
        with expect_success(did=f"reset in {stage.value}, mmap {region.name} {area}"):
            region.map_area(area).close()


@pytest.mark.rule("saving.refuse")
def test_reset_with_a_mapping(saver: Saver, conflict: Mapping, way: str) -> None:
    """Reset in every way with a conflict mapped: it still counts, until it is unmapped."""
    resets.WAYS[way](saver.device)
    expect_refused(saver, saver.first, EBUSY, why=f"reset by {way} with a page mapped")
    conflict.close()
    with expect_success(did=f"reset by {way}, unmap, {saver.words(saver.first)}"):
        saver.enter(saver.first)


@pytest.mark.rule("saving.all-regions")
def test_each_region_is_judged(mappings: Mappings, conflicting_regions: list[Region]) -> None:
    """Map a conflict in one region at a time: refused for each, accepted in between."""
    for region in conflicting_regions:
        held = mappings.map(whole(region))
        mappings.judge(f"{region.name} is mapped")
        mappings.munmap(held)
        mappings.judge(f"{region.name} was unmapped")


@pytest.mark.rule("saving.all-regions")
def test_every_conflict_is_counted(mappings: Mappings, conflicting_regions: list[Region]) -> None:
    """Map a conflict in all regions, unmap one after the other: refused until the last."""
    held = [mappings.map(whole(region)) for region in conflicting_regions]
    for mapping in held:
        mappings.judge("some regions are mapped")
        mappings.munmap(mapping)
    mappings.judge("the last region was unmapped")


@pytest.mark.rule("saving.unaware")
@pytest.mark.usefixtures("saving_regions")
def test_unaware_user(saver: Saver, mappable_regions: list[Region]) -> None:
    """Keep all regions mapped: saving is refused, stopping, resuming and reset work."""
    stream = saver.save()
    mappings = [
        region.map_area(area) for region in mappable_regions for area in region.runtime_areas
    ]
    expect_refused(saver, saver.first, EBUSY, why="with everything mapped")
    with expect_success(did="stop, run on, resume and reset with everything mapped"):
        saver.enter(Stage.STOPPED)
        saver.enter(Stage.RUNNING)
        saver.resume(stream)
        saver.device.reset()
    expect_equal(saver.stage, Stage.RUNNING, did="read the state after that")
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving.unaware")
def test_unaware_user_keeps_registers(
    saver: Saver, scratch: list[Scratch], conflicting_regions: list[Region]
) -> None:
    """Keep a region mapped, be refused: registers work through the mapping and by read()."""
    found = whole(conflicting_regions[0])
    with found.map() as mapping:
        expect_refused(saver, saver.first, EBUSY, why=f"{mapping} mapped")
        written = set_apart(scratch, 0x2B4D6F81)
        seen = [
            mapping.load(place.offset - found.offset) & place.mask
            if place.region.index == found.region.index
            and found.offset <= place.offset < found.offset + found.size
            else place.read()
            for place in scratch
        ]
    expect_equal(seen, written, did="write registers after a refusal, read them where mapped")
