# SPDX-License-Identifier: GPL-2.0-only
"""What mappings must not get in the way of, which regions count, and users who know nothing."""

from errno import EBUSY

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State, Verdict, verdict
from conformance.plugin.checks import errno_words, expect_equal, expect_success, expect_true
from conformance.plugin.devices import Scratch
from conformance.suite.conftest import Reach
from conformance.suite.support.cases import arcs_by_name, not_adding_saving
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.steps import attempt, expect_refused, set_apart
from conformance.suite.support.windows import layout_of, whole
from conformance.vfio.device import Device
from conformance.vfio.region import Region

EXITS = {"2->1": (2, 1), "3->1": (3, 1), "2->0": (2, 0), "3->2->0": (3, 2, 0)}


@pytest.mark.rule("saving.only-adding")
@pytest.mark.parametrize(("old", "new"), arcs_by_name(not_adding_saving()))
def test_only_adding(reach: Reach, saving_regions: list[Region], old: State, new: int) -> None:
    """Write what does not add _SAVING with as much mapped as can be: not refused for that."""
    migration = reach(old)
    layouts = [(region, layout_of(region)) for region in saving_regions]
    areas = [
        (r, a) for r, layout in layouts for a in (layout.free if old.saving else layout.runtime)
    ]
    mappings = [region.map(*area) for region, area in areas]
    refused = attempt(migration, new)
    did = f"{old:d}->{new} with {len(areas)} areas mapped"
    for_mappings = refused == EBUSY or (refused and verdict(old, new) is Verdict.MUST)
    expect_true(not for_mappings, did=did, expected="no refusal", actual=errno_words(refused))
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving.after")
@pytest.mark.parametrize("way", EXITS)
def test_after(migration: MigrationRegion, saving_regions: list[Region], way: str) -> None:
    """Leave the saving states: the whole run-time layout can be mapped again."""
    migration.enter(*EXITS[way])
    for region, area in [(r, area) for r in saving_regions for area in r.runtime_areas]:
        with expect_success(did=f"{way}, mmap {region.name} {area}"):
            region.map_area(area).close()


@pytest.mark.rule("saving.after")
@pytest.mark.parametrize("state", [2, 3])
def test_after_reset(migration: MigrationRegion, saving_regions: list[Region], state: int) -> None:
    """Reset while saving: the whole run-time layout can be mapped again."""
    migration.enter(state)
    migration.device.reset()
    for region, area in [(r, area) for r in saving_regions for area in r.runtime_areas]:
        with expect_success(did=f"reset in state {state}, mmap {region.name} {area}"):
            region.map_area(area).close()


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
def test_unaware_user(device: Device, client: Client, stream: list[bytes]) -> None:
    """Keep all regions mapped: saving is refused, stopping, resuming and reset work."""
    areas = [(region, area) for region in device.regions for area in region.runtime_areas]
    mappings = [r.map_area(area) for r, area in areas if r is not client.migration.region]
    expect_refused(client.migration, State.PRE_COPY, EBUSY, why="with everything mapped")
    with expect_success(did="1->0, 0->1, resume and reset with everything mapped"):
        client.migration.enter(State.STOPPED, State.RUNNING)
        client.resume(stream)
        device.reset()
    expect_equal(client.migration.state, State.RUNNING, did="read device_state after that")
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving.unaware")
def test_unaware_user_keeps_registers(
    migration: MigrationRegion, scratch: list[Scratch], conflicting_regions: list[Region]
) -> None:
    """Keep a region mapped, be refused: registers work through the mapping and by read()."""
    found = whole(conflicting_regions[0])
    with found.map() as mapping:
        expect_refused(migration, State.PRE_COPY, EBUSY, why=f"{mapping} mapped")
        written = set_apart(scratch, 0x2B4D6F81)
        seen = [
            mapping.load(place.offset - found.offset) & place.mask
            if place.region.index == found.region.index
            and found.offset <= place.offset < found.offset + found.size
            else place.read()
            for place in scratch
        ]
    expect_equal(seen, written, did="write registers after a refusal, read them where mapped")
