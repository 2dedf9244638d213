# SPDX-License-Identifier: GPL-2.0-only
"""The migration region as GET_REGION_INFO describes it, and region information in general."""

from errno import EINVAL

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.movers import mover
from conformance.migration.v1.region import STRUCT_SIZE, MigrationRegion
from conformance.model.layout import PAGE, form_errors, pages
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.suite.support.cases import named
from conformance.suite.v1.edges import edge_mover
from conformance.uapi import constants as c
from conformance.uapi import mman
from conformance.vfio.device import REGION_INFO_SIZE, Device, decode_region_info
from conformance.vfio.memory.areas import Area
from conformance.vfio.region import RegionInfo

MIGRATION_TYPE = (
    c.VFIO_REGION_TYPE_MIGRATION_DEPRECATED,
    c.VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED,
)


@pytest.mark.rule("region.type")
def test_type(device: Device) -> None:
    """Look for the type capability on all regions: one has it, readable and writable."""
    found = device.find_regions(*MIGRATION_TYPE)
    expect_equal(len(found), 1, did="count the regions of type (3, 1)")
    flags = found[0].info.flags & (c.VFIO_REGION_INFO_FLAG_READ | c.VFIO_REGION_INFO_FLAG_WRITE)
    expect_equal(flags, 3, did="read the READ and WRITE flags of the migration region")
    kinds = [cap for cap in found[0].info.capabilities if cap.id == c.VFIO_REGION_INFO_CAP_TYPE]
    expect_equal([cap.version for cap in kinds], [1], did="read the version of that capability")


@pytest.mark.rule("region.type")
def test_type_is_device_specific(migration: MigrationRegion) -> None:
    """Look at the region's index: it comes after the fixed indexes of PCI."""
    index = migration.region.index
    expect_true(
        index >= c.VFIO_PCI_NUM_REGIONS,
        did="look for the migration region",
        expected=f"an index from {c.VFIO_PCI_NUM_REGIONS} on",
        actual=str(index),
    )


@pytest.mark.rule("region.size")
def test_size(migration: MigrationRegion, stream: list[bytes]) -> None:
    """Compare the size of the region with what was saved: struct and largest buffer fit."""
    needed = STRUCT_SIZE + max(map(len, stream))
    expect_true(
        migration.size >= needed,
        did="ask for the size of the migration region",
        expected=f"at least {needed:#x}, the struct and the largest buffer seen",
        actual=f"{migration.size:#x}",
    )


@pytest.mark.rule("region.control-unmappable")
@pytest.mark.parametrize("prot", named({"rw": 3, "read": 1}))
@pytest.mark.parametrize("pages", [1, 2, "all"])
def test_struct_cannot_be_mapped(migration: MigrationRegion, prot: int, pages: int | str) -> None:
    """Map from offset 0, one page and more: an error each time."""
    size = migration.size if pages == "all" else int(pages) * PAGE
    with expect_errno(did=f"mmap {size:#x} bytes at offset 0 of the migration region") as call:
        call.result = migration.region.map(0, size, prot=prot)
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")


@pytest.mark.rule("region.control-unmappable")
def test_private_mapping_of_the_struct(migration: MigrationRegion) -> None:
    """Map the page of the struct privately: an error too."""
    with expect_errno(did="mmap the page of the struct with MAP_PRIVATE") as call:
        call.result = migration.region.map(0, PAGE, flags=mman.MAP_PRIVATE)
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")


@pytest.mark.rule("region.control-unmappable")
def test_layout_leaves_the_struct_out(migration: MigrationRegion) -> None:
    """Read the run-time layout of the region: no area reaches into the page of the struct."""
    areas = [str(area) for area in migration.region.runtime_areas if area.overlaps(Area(0, PAGE))]
    expect_equal(areas, [], did="look for mappable areas with the page of the struct")


@pytest.mark.rule("region.data-either-way")
def test_write_is_seen_by_a_mapping(resuming: MigrationRegion) -> None:
    """Write data with write() while resuming: a mapping shows the same bytes."""
    if not resuming.data_areas:
        pytest.skip("no part of the data section can be mapped")
    area, data = resuming.data_areas[0], bytes(range(1, 200))
    with resuming.region.map_area(area) as mapping, mover(resuming, "bulk") as move:
        move.write(area.offset, data)
        expect_equal(mapping.read(0, len(data)), data, did="write() data, read the mapping")


@pytest.mark.rule("region.data-either-way")
def test_each_page_can_be_mapped_alone(migration: MigrationRegion) -> None:
    """Write a mark into each page while resuming: a mapping of that page alone shows it."""
    whole = [(area.offset, area.size) for area in migration.data_areas]
    areas = [Area(*page) for area in whole for page in pages(area)]
    if not areas:
        pytest.skip("no part of the data section can be mapped")
    migration.enter(State.RESUMING)
    marks = [(0x5A000000 + number).to_bytes(4, "little") for number in range(len(areas))]
    for area, mark in zip(areas, marks, strict=True):
        migration.region.write_exact(area.offset, mark)
    seen = [_read_alone(migration, area, 4) for area in areas]
    expect_equal(seen, marks, did="write() a mark into each page, map and read page by page")


def _read_alone(migration: MigrationRegion, area: Area, size: int) -> bytes:
    with migration.region.map_area(area) as mapping:
        return mapping.read(0, size)


@pytest.mark.rule("region.data-either-way")
def test_mapping_shows_what_read_returns(migration: MigrationRegion, client: Client) -> None:
    """Read a buffer of stop-and-copy both ways: the bytes are equal."""
    if not migration.data_areas:
        pytest.skip("no part of the data section can be mapped")
    migration.enter(State.STOP_AND_COPY)
    with mover(migration, "bulk") as bulk, mover(migration, "mmap") as mapped:
        buffer = client.read_buffer(bulk)
        if buffer is None:
            pytest.skip("this device has no state to migrate")
        seen = mapped.read(buffer.offset, buffer.size)
    expect_equal(seen, buffer.data, did="read a buffer by read() and through a mapping")


@pytest.mark.rule("region.data-either-way")
@pytest.mark.parametrize("how", ["bulk", "aligned"])
def test_mapping_is_not_obligatory(client: Client, how: str) -> None:
    """Save and resume by read() and write() alone: both succeed."""
    migration = client.migration
    migration.enter(State.STOP_AND_COPY)
    with expect_success(did=f"save and resume without a mapping, {how}"):
        with edge_mover(migration, how) as move:
            stream = list(iter(lambda: client.read_buffer(move), None))
            migration.enter(State.RUNNING, State.RESUMING)
            for buffer in stream:
                client.write_chunk(buffer.data, move)
        migration.set_state(State.RUNNING)


@pytest.mark.rule("region.sparse-form")
def test_sparse_form(device: Device) -> None:
    """Read the run-time layout of every region: each is well formed."""
    wrong = [
        f"{region.name}: {error}"
        for region in device.regions
        if region.sparse
        for error in form_errors(region.sparse.areas, region.size)
    ]
    expect_equal(wrong, [], did="read the run-time layouts")


@pytest.mark.rule("region.sparse-form")
def test_sparse_areas_can_be_mapped(device: Device) -> None:
    """Map every area of every run-time layout: mmap() takes each as it stands."""
    areas = [(region, area) for region in device.regions for area in region.runtime_areas]
    for region, area in areas:
        with expect_success(did=f"mmap {region.name} {area}"):
            region.map_area(area).close()


def _with_capabilities(device: Device) -> list[RegionInfo]:
    return [region.info for region in device.regions if region.info.capabilities]


@pytest.mark.rule("region.info-argsz")
@pytest.mark.parametrize("short_by", named({"no-room": None, "a-byte": 1, "a-header": 8}))
def test_argsz_too_small_for_capabilities(device: Device, short_by: int | None) -> None:
    """Ask with less room than the capabilities need: the size needed, and no capability."""
    wrong = []
    for info in _with_capabilities(device):
        given = REGION_INFO_SIZE if short_by is None else max(info.argsz - short_by, 32)
        buffer = device.region_info_raw(info.index, given, room=info.argsz + 64)
        answer = decode_region_info(buffer, given)
        untouched = buffer[REGION_INFO_SIZE:].strip(b"\xa5") == b""
        if (answer.argsz, answer.cap_offset, untouched) != (info.argsz, 0, True):
            wrong.append((info.index, answer.argsz, answer.cap_offset, untouched))
    expect_equal(wrong, [], did="ask each region with capabilities for them in too little room")


@pytest.mark.rule("region.info-argsz")
@pytest.mark.parametrize("more", [0, 1, 4096])
def test_argsz_large_enough(device: Device, more: int) -> None:
    """Ask with the room that was named, or more: all capabilities, within that room."""
    wrong = []
    for info in _with_capabilities(device):
        buffer = device.region_info_raw(info.index, info.argsz + more, room=info.argsz + more + 64)
        answer = decode_region_info(buffer, info.argsz + more)
        ids = [cap.id for cap in answer.capabilities]
        beyond = buffer[info.argsz :].strip(b"\xa5") == b""
        if ids != [cap.id for cap in info.capabilities] or not beyond:
            wrong.append((info.index, ids, beyond))
    expect_equal(wrong, [], did="ask each region with capabilities for them in enough room")


@pytest.mark.rule("region.info-argsz")
@pytest.mark.parametrize("argsz", [0, 8, 31])
def test_argsz_below_the_minimum(device: Device, argsz: int) -> None:
    """Ask for each region with less than the struct: EINVAL."""
    for region in device.regions:
        with expect_errno(EINVAL, did=f"GET_REGION_INFO of {region.name}, argsz {argsz}") as call:
            call.result = device.region_info_raw(region.index, argsz)


@pytest.mark.rule("region.index-bounds")
@pytest.mark.parametrize("past", [0, 1, 1 << 16, (1 << 31) - 64, (1 << 32) - 64])
def test_index_out_of_bounds(device: Device, past: int) -> None:
    """Ask for num_regions and indexes past it: EINVAL."""
    index = min(device.num_regions + past, (1 << 32) - 1)
    with expect_errno(EINVAL, did=f"GET_REGION_INFO of index {index}") as call:
        call.result = device.region_info_raw(index, REGION_INFO_SIZE)
    last = device.num_regions - 1
    expect_equal(device.region_info(last).index, last, did="ask for the last region after that")
