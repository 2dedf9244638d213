# SPDX-License-Identifier: GPL-2.0-only
"""While _SAVING is set: what can still be mapped, and how the rest is reached."""

import contextlib
from collections.abc import Callable
from errno import EBUSY

import pytest

from conformance.migration.v1.region import MigrationRegion
from conformance.model.layout import PAGE
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success
from conformance.plugin.devices import Scratch
from conformance.suite.conftest import Find, Reach
from conformance.suite.support.cases import by_state
from conformance.suite.support.msix import table_of
from conformance.suite.support.windows import layout_of
from conformance.uapi import mman
from conformance.vfio import libc
from conformance.vfio.areas import Area
from conformance.vfio.children.children import Child
from conformance.vfio.region import Region

SAVING = by_state((State.STOP_AND_COPY, State.PRE_COPY))


@pytest.mark.rule("saving.late-mmap")
@pytest.mark.parametrize("patterns", [("C",), ("fC", "CC"), ("Cf", "CC")], ids=lambda each: each[0])
@pytest.mark.parametrize("state", SAVING)
def test_outside(reach: Reach, window: Find, state: State, patterns: tuple[str, ...]) -> None:
    """Map a page outside the saving areas, or across their edge, while saving: EBUSY."""
    migration = reach(state)
    found = window(*patterns)
    with expect_errno(EBUSY, did=f"mmap {patterns[0]} in state {state:d}") as call:
        call.result = found.map()
    expect_equal(migration.state, state, did="read device_state after that")


@pytest.mark.rule("saving.late-mmap")
@pytest.mark.parametrize("prot", [mman.PROT_READ, mman.PROT_WRITE, mman.PROT_NONE])
def test_outside_with_any_protection(migration: MigrationRegion, window: Find, prot: int) -> None:
    """Map a page outside the saving areas with other protections while saving: EBUSY."""
    found = window("C")
    migration.enter(State.PRE_COPY)
    with expect_errno(EBUSY, did=f"mmap with protection {prot} in state 3") as call:
        call.result = found.map(prot=prot)
    expect_equal(migration.state, State.PRE_COPY, did="read device_state after that")


@pytest.mark.rule("saving.late-mmap")
@pytest.mark.parametrize("state", SAVING)
def test_inside(reach: Reach, saving_regions: list[Region], state: State) -> None:
    """Map each saving area while saving: it works, and stays out of the way."""
    migration = reach(state)
    areas = [(region, area) for region in saving_regions for area in layout_of(region).free]
    for region, (offset, size) in areas:
        with expect_success(did=f"mmap {region.name} {offset:#x}+{size:#x} in state {state:d}"):
            region.map(offset, size).close()
    expect_equal(migration.state, state, did="read device_state after that")


@pytest.mark.rule("saving.late-mmap")
def test_outside_after_precopy(migration: MigrationRegion, window: Find) -> None:
    """Go from pre-copy to stop-and-copy, map a page outside: EBUSY in both, then not."""
    found = window("C")
    for state in (State.PRE_COPY, State.STOP_AND_COPY):
        migration.enter(state)
        with expect_errno(EBUSY, did=f"mmap a page outside in state {state:d}") as call:
            call.result = found.map()
    migration.enter(State.RUNNING)
    with expect_success(did="mmap the same page in state 1"):
        found.map().close()


@pytest.mark.rule("saving.late-mmap")
def test_outside_in_another_process(
    migration: MigrationRegion, window: Find, child: Callable[[], Child]
) -> None:
    """Map a page outside the saving areas in another process while saving: EBUSY."""
    found, other = window("C"), child()
    migration.enter(State.PRE_COPY)
    with expect_errno(EBUSY, did="mmap a page outside in another process in state 3") as call:
        call.result = other.map(found.region, found.offset, found.size)
    expect_equal(migration.state, State.PRE_COPY, did="read device_state after that")


@pytest.mark.rule("saving.late-mmap")
def test_outside_by_remap_file_pages(migration: MigrationRegion, window: Find) -> None:
    """Let a page inside the areas become one outside while saving: EBUSY, or not possible."""
    inside, outside = window("f"), window("C")
    page = (outside.region.offset + outside.offset) // PAGE
    migration.enter(State.PRE_COPY)
    with inside.map() as mapping, expect_errno(did="remap_file_pages() to a page outside"):
        libc.remap_file_pages(mapping.address, PAGE, page)
    expect_equal(migration.state, State.PRE_COPY, did="read device_state after that")


@pytest.mark.rule("saving.late-mmap")
def test_refused_mmap_leaves_no_trace(migration: MigrationRegion, window: Find) -> None:
    """Be refused a mapping while saving, go back, save again: nothing is counted."""
    found = window("C")
    migration.enter(State.PRE_COPY)
    for _ in range(10):
        with contextlib.suppress(OSError):
            found.map().close()
    migration.enter(State.RUNNING)
    with expect_success(did="write 3 after ten mappings were refused in state 3"):
        migration.set_state(State.PRE_COPY)


@pytest.mark.rule("saving.trapped-access")
@pytest.mark.parametrize("state", by_state())
def test_trapped_read(reach: Reach, conflicting_regions: list[Region], state: State) -> None:
    """Read all of the trapped ranges by read() in each state: every byte comes."""
    reach(state)
    for region, (offset, size) in _trapped(conflicting_regions):
        with expect_success(did=f"read {region.name} {offset:#x}+{size:#x} in state {state:d}"):
            region.read_exact(offset, size)


def _trapped(regions: list[Region]) -> list[tuple[Region, tuple[int, int]]]:
    return [(region, part) for region in regions for part in layout_of(region).restricted]


@pytest.mark.rule("saving.trapped-access")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.RUNNING, State.RESUMING)))
def test_trapped_read_agrees_with_a_mapping(
    reach: Reach, conflicting_regions: list[Region], state: State
) -> None:
    """Read the trapped ranges by read() and through a mapping: the same registers."""
    reach(state)
    for region, (offset, size) in _trapped(conflicting_regions):
        hidden = _hidden(region)
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
        expect_equal(moved, [], did=f"read {region.name} both ways in state {state:d}")


def _hidden(region: Region) -> range:
    """Return the bytes of a region which VFIO itself hides: the MSI-X table."""
    bar, area = table_of(region.device) or (-1, Area(0, 0))
    return range(area.offset, area.end) if bar == region.index else range(0)


@pytest.mark.rule("saving.trapped-access")
@pytest.mark.parametrize("state", by_state())
def test_trapped_write(
    reach: Reach, scratch: list[Scratch], conflicting_regions: list[Region], state: State
) -> None:
    """Write registers of trapped ranges by write() in each state: each takes and keeps it."""
    reach(state)
    places = [place for place in scratch if _is_trapped(place, conflicting_regions)]
    if not places:
        pytest.skip("none of the registers that may be written lies in a trapped range")
    for at, place in enumerate(places):
        value = (0x35C6A9B8 ^ (at * 0x01010101)) & place.mask
        place.write(value)
        expect_equal(place.read(), value, did=f"write {value:#x} at {place.offset:#x}, read it")


def _is_trapped(place: Scratch, regions: list[Region]) -> bool:
    page = (place.offset - place.offset % PAGE, PAGE)
    return any(
        region.index == place.region.index and layout_of(region).conflicts(page)
        for region in regions
    )


@pytest.mark.rule("saving.trapped-access")
def test_trapped_write_is_seen_by_a_mapping(
    migration: MigrationRegion, scratch: list[Scratch], conflicting_regions: list[Region]
) -> None:
    """Write trapped registers while saving, give up, map: the mapping shows the values."""
    places = [place for place in scratch if _is_trapped(place, conflicting_regions)]
    if not places:
        pytest.skip("none of the registers that may be written lies in a trapped range")
    migration.enter(State.PRE_COPY)
    for place in places:
        place.write(0x4D5E6F70 & place.mask)
    migration.enter(State.RUNNING)
    for place in places:
        with place.region.map(place.offset - place.offset % PAGE, PAGE) as mapping:
            value = mapping.load(place.offset % PAGE) & place.mask
        expect_equal(value, place.read(), did=f"read {place.offset:#x} both ways")
        expect_equal(value, 0x4D5E6F70 & place.mask, did=f"read {place.offset:#x} by mapping")
