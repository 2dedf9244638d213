# SPDX-License-Identifier: GPL-2.0-only
"""Accesses at and past the end of any region, and where there is no region at all."""

import itertools
import mmap
from collections.abc import Iterator
from contextlib import suppress

import pytest

from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.suite.support.cases import named
from conformance.vfio.device import Device
from conformance.vfio.memory.areas import Area
from conformance.vfio.memory.mapping import anonymous, map_fd
from conformance.vfio.region import Region

pytestmark = pytest.mark.rule("info.end")

PAGE = mmap.PAGESIZE
#: Bytes behind the end of a region, and bytes of an access there.
BEHIND = named(
    {"at": (0, 4), "byte": (1, 1), "word": (4, 4), "page": (PAGE, 8), "MiB": (1 << 20, 8)}
)
#: Bytes before the end of a region, and of an access that reaches over it.
ACROSS = named({"byte": (1, 2), "half": (2, 8), "word": (4, 8), "page": (8, PAGE)})


def _written(region: Region, at: int, data: bytes) -> int:
    """Return how many bytes a write takes; none if it is an error."""
    try:
        return region.write(at, data)
    except OSError:
        return 0


@pytest.mark.parametrize(("behind", "size"), BEHIND)
def test_read_behind_the_end(device: Device, behind: int, size: int) -> None:
    """Read at and behind the end of each region: an error, or no bytes."""
    for region in device.regions:
        if region.readable:
            data = b""
            with suppress(OSError):
                data = region.read(region.size + behind, size)
            did = f"read {size} bytes of {region.name}, {behind} behind its {region.size:#x} bytes"
            expect_equal(data, b"", did=did)


@pytest.mark.parametrize(("behind", "size"), BEHIND)
def test_write_behind_the_end(device: Device, behind: int, size: int) -> None:
    """Write zeros at and behind the end of each region: an error, or none is taken."""
    for region in device.regions:
        if region.writable:
            moved = _written(region, region.size + behind, bytes(size))
            did = f"write {size} bytes of {region.name}, {behind} behind its {region.size:#x} bytes"
            expect_equal(moved, 0, did=did)


@pytest.mark.parametrize(("before", "size"), ACROSS)
def test_read_across_the_end(device: Device, before: int, size: int) -> None:
    """Read across the end of each region: an error or short, and no more memory is written."""
    for region in (one for one in device.regions if one.readable and one.size > before):
        with anonymous(2 * PAGE) as memory:
            memory.write(0, b"\xa5" * size)
            moved = 0
            with suppress(OSError):
                moved = region.read_to(memory.address, region.size - before, size)
            beyond = memory.read(before, size - before).strip(b"\xa5")
        did = f"read {size} bytes of {region.name}, {before} before its end"
        expected, actual = f"an error or at most {before}", f"{moved} bytes"
        expect_true(moved <= before, did=did, expected=expected, actual=actual)
        expect_equal(beyond, b"", did=f"{did}, look at the buffer past {before}")


@pytest.mark.parametrize(("before", "size"), ACROSS)
def test_write_across_the_end(device: Device, before: int, size: int) -> None:
    """Write across the end of each region what is there and more: an error or short."""
    for region in (one for one in device.regions if one.writable and one.size > before):
        try:
            there = region.read(region.size - before, before)
        except OSError:
            continue
        moved = _written(region, region.size - before, there + bytes(size - len(there)))
        did = f"write {size} bytes of {region.name}, {before} before its end"
        expected, actual = f"an error or at most {before}", f"{moved} bytes"
        expect_true(moved <= before, did=did, expected=expected, actual=actual)


def test_last_byte(device: Device) -> None:
    """Read the last byte of each region of PCI by itself: it comes."""
    for region in device.regions:
        if region.readable and not region.type:
            with expect_success(did=f"read the last byte of {region.name}"):
                region.read_exact(region.size - 1, 1)


def test_map_past_the_end(device: Device) -> None:
    """Map a page at the end of each region, and one more than its last area has: an error."""
    for region in (one for one in device.regions if one.runtime_areas):
        last = region.runtime_areas[-1]
        end = -(-region.size // PAGE) * PAGE
        for area in (Area(last.offset, end - last.offset + PAGE), Area(end, PAGE)):
            with expect_errno(did=f"mmap {area} of {region.name}, which ends at {end:#x}") as call:
                call.result = region.map_area(area)


def _nowhere(device: Device) -> Iterator[int]:
    """Yield offsets behind all regions, as far apart as these are."""
    begins = sorted({device.known(region.index).offset for region in device.regions})
    step = min(later - one for one, later in itertools.pairwise(begins))
    last = max(begins) + max(region.size for region in device.regions)
    first = begins[-1] + step
    yield from (at for at in range(first, first + 4 * step, step) if at > last)


def test_no_region(device: Device) -> None:
    """Read, write and map where a region behind the last one would be: an error each time."""
    if len(device.regions) < 2:
        pytest.skip("the device has no two regions, which would show where the next one is")
    for at in _nowhere(device):
        with expect_errno(did=f"read at {at:#x}, where no region is") as call:
            call.result = device.pread(4, at)
        with expect_errno(did=f"write at {at:#x}, where no region is") as call:
            call.result = device.pwrite(bytes(4), at)
        for page in range(3):
            with expect_errno(did=f"mmap at {at:#x} + {page} pages, where no region is") as call:
                call.result = map_fd(device.fd, at + page * PAGE, PAGE)
