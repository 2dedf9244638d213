# SPDX-License-Identifier: GPL-2.0-only
"""The saving layout: its capability, the refusal, and what is accepted."""

from errno import EBUSY

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.layout import PAGE, form_errors, outside
from conformance.model.v1.states import State
from conformance.plugin.checks import errno_words, expect_equal, expect_success, expect_true
from conformance.plugin.devices import Place, Scratch
from conformance.suite.conftest import Find, Reach
from conformance.suite.support.cases import adding_saving_freely, arcs_by_name, name_of
from conformance.suite.support.mappings import Mappings
from conformance.suite.support.steps import (
    attempt,
    expect_after_failure,
    expect_refused,
    expect_taken,
    expect_whole,
    quiet_probe,
    save_and_run,
    set_apart,
    to_running,
)
from conformance.suite.support.windows import Window, find, layout_of, whole
from conformance.vfio.device import Device
from conformance.vfio.mapping import Mapping
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
    """Look for registers which the driver must see while saving: none of them may be mapped."""
    open_to_all = [
        str(place)
        for place in trapped
        for layout in [layout_of(device.region(place.bar))]
        for page in [(place.offset // PAGE * PAGE, PAGE)]
        if layout.mappable(page) and not layout.conflicts(page)
    ]
    expect_equal(open_to_all, [], did="look for trapped registers in what may stay mapped")


@pytest.mark.rule("saving.capability")
def test_unrestricted_regions(migration: MigrationRegion, mappable_regions: list[Region]) -> None:
    """Map all of every region without the capability, enter pre-copy: it succeeds."""
    mappings = [
        region.map_area(area)
        for region in mappable_regions
        if not region.saving
        for area in region.runtime_areas
    ]
    with expect_success(did=f"write 3 with {len(mappings)} unrestricted areas mapped"):
        migration.set_state(State.PRE_COPY)
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving.capability")
def test_unrestricted_regions_while_saving(
    migration: MigrationRegion, mappable_regions: list[Region]
) -> None:
    """Map regions without the capability while saving: mmap() takes all of them."""
    migration.enter(State.PRE_COPY)
    areas = [(r, area) for r in mappable_regions if not r.saving for area in r.runtime_areas]
    for region, area in areas:
        with expect_success(did=f"mmap {region.name} {area} in state 3"):
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
@pytest.mark.parametrize("new", [2, 3])
def test_refuse(
    migration: MigrationRegion, conflicting_regions: list[Region], new: int, pattern: str
) -> None:
    """Add _SAVING while a page, or all, of a region is mapped: EBUSY, the state stays."""
    region = conflicting_regions[0]
    found = whole(region) if pattern == "all" else find([region], "C")
    assert found
    with found.map() as mapping:
        expect_refused(migration, new, EBUSY, why=f"{mapping} mapped")


@pytest.mark.rule("saving.refuse")
@pytest.mark.parametrize(("old", "new"), arcs_by_name(adding_saving_freely()))
def test_refuse_where_offered(reach: Reach, window: Find, old: State, new: int) -> None:
    """Add _SAVING by an arc that is not drawn, unmapped, then mapped: never taken when mapped."""
    found, migration = window("C"), reach(old)
    offered = attempt(migration, new) is None
    to_running(migration)
    reach(old)
    with found.map() as mapping:
        did = f"{name_of(old, new)} with {mapping} mapped"
        refused = attempt(migration, new)
        good = refused == EBUSY or (refused and not offered)
        wanted = "EBUSY" if offered else "an error"
        expect_true(good, did=did, expected=wanted, actual=errno_words(refused))
        expect_after_failure(migration, old, did=f"{did}, read device_state")


@pytest.mark.rule("saving.refuse")
def test_refuse_again_and_again(migration: MigrationRegion, conflict: Mapping) -> None:
    """Try a hundred times: EBUSY each time, as long as the mapping is there."""
    seen = {attempt(migration, State(2 + turn % 2)) for turn in range(100)}
    expect_equal(seen, {EBUSY}, did=f"write 2 and 3 a hundred times with {conflict} mapped")
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")


@pytest.mark.rule("saving.refuse-pure")
@pytest.mark.parametrize("new", [2, 3])
def test_nothing_was_started(migration: MigrationRegion, conflict: Mapping, new: int) -> None:
    """Be refused: state, pending_bytes, data_offset and data_size answer as before."""
    before = quiet_probe(migration)
    expect_refused(migration, new, EBUSY, why=f"{conflict} mapped")
    expect_equal(quiet_probe(migration), before, did="read state and data fields before and after")


@pytest.mark.rule("saving.refuse-pure")
@pytest.mark.parametrize("new", [2, 3])
def test_registers_stay(
    migration: MigrationRegion, scratch: list[Scratch], conflict: Mapping, new: int
) -> None:
    """Be refused: the registers keep their values, and take new ones."""
    written = set_apart(scratch, 0x0F1E2D3C)
    expect_refused(migration, new, EBUSY, why=f"{conflict} mapped")
    expect_equal([place.read() for place in scratch], written, did="read the registers after it")
    again = set_apart(scratch, 0x1A2B3C4D)
    expect_equal([place.read() for place in scratch], again, did="write and read other values")


@pytest.mark.rule("saving.refuse-pure")
def test_save_after_a_refusal(client: Client, window: Find) -> None:
    """Be refused, unmap, save: the stream is whole."""
    with window("C").map():
        expect_refused(client.migration, State.PRE_COPY, EBUSY)
        expect_refused(client.migration, State.STOP_AND_COPY, EBUSY)
    again = save_and_run(client)
    expect_whole(client, again, did="be refused, unmap, save")


@pytest.mark.rule("saving.accept")
@pytest.mark.parametrize("new", [2, 3])
@pytest.mark.usefixtures("saving_regions")
def test_accept_without_mappings(migration: MigrationRegion, new: int) -> None:
    """Add _SAVING with nothing mapped: it succeeds."""
    expect_taken(migration, new, why="with nothing mapped")


@pytest.mark.rule("saving.accept")
@pytest.mark.parametrize("new", [2, 3])
def test_accept_inside(migration: MigrationRegion, saving_regions: list[Region], new: int) -> None:
    """Map every saving area of every region and add _SAVING: it succeeds."""
    areas = [Window(r, *area) for r in saving_regions for area in layout_of(r).free]
    mappings = [area.map() for area in areas]
    expect_taken(migration, new, why=f"with the {len(areas)} saving areas mapped")
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving.accept")
@pytest.mark.parametrize("new", [2, 3])
def test_accept_after_unmapping(migration: MigrationRegion, window: Find, new: int) -> None:
    """Be refused, unmap the conflict, try at once: it succeeds."""
    with window("C").map():
        expect_refused(migration, new, EBUSY)
    expect_taken(migration, new, why="after the conflict was unmapped")


@pytest.mark.rule("saving.accept")
def test_accept_when_the_last_goes(mappings: Mappings, window: Find) -> None:
    """Map a page five times, unmap one after the other: it succeeds after the last."""
    found = window("C")
    for held in [mappings.map(found) for _ in range(5)]:
        mappings.judge("some of five mappings are left")
        mappings.munmap(held)
    mappings.judge("the last of five mappings was unmapped")
