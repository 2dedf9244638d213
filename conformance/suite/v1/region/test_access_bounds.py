# SPDX-License-Identifier: GPL-2.0-only
"""Accesses at and past the end of the region, and whether an access moves all its bytes."""

import contextlib
import random
from collections.abc import Callable

import pytest

from conformance.migration.v1.client import Buffer
from conformance.migration.v1.region import MigrationRegion
from conformance.model.layout import PAGE
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_true, fail
from conformance.suite.support.cases import named
from conformance.vfio.memory.mapping import anonymous


def _room_after(migration: MigrationRegion) -> int:
    """Return how many offsets lie between the region's begin and the next region's, if any."""
    begin = migration.region.offset
    others = [region.offset - begin for region in migration.device.regions]
    return min((other for other in others if other > 0), default=1 << 40)


#: What is in a buffer, and behind it, before something is read into it.
CANARY = b"\xa5" * 4 * PAGE

#: Where to read, from the size of the region and the offsets up to the next; how many bytes.
PAST: dict[str, tuple[Callable[[int, int], int], int]] = {
    "at-the-end": (lambda size, _: size, 4),
    "one-past": (lambda size, _: size + 1, 1),
    "a-page-past": (lambda size, _: size + PAGE, 8),
    "far-past": (lambda _, room: room // 2, 8),
    "into-the-next-region": (lambda _, room: room - PAGE, 2 * PAGE),
    "at-the-largest-offset": (lambda *_: 1 << 63, 8),
    "4-GiB-past-the-struct": (lambda *_: 1 << 32, 4),
    "4-GiB-past-the-data": (lambda size, _: (1 << 32) + size - PAGE, 8),
    "2-GiB-past-the-data": (lambda size, _: (1 << 31) + size - PAGE, 8),
}


@pytest.mark.rule("access.past-end")
@pytest.mark.parametrize(("place", "size"), named(PAST))
def test_read_past_the_end(
    migration: MigrationRegion, place: Callable[[int, int], int], size: int
) -> None:
    """Read at the end of the region and far past it: an error, or no bytes."""
    largest = (1 << 63) - 1 - migration.region.offset - size
    at = min(place(migration.size, _room_after(migration)), largest)
    try:
        data = migration.region.read(at, size)
    except OSError:
        data = b""
    expect_equal(data, b"", did=f"read {size} bytes at {at:#x} of {migration.size:#x}")
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")


@pytest.mark.rule("access.past-end")
@pytest.mark.parametrize(("place", "size"), named(PAST))
def test_read_past_the_end_moves_nothing(
    migration: MigrationRegion, place: Callable[[int, int], int], size: int
) -> None:
    """Read at the end of the region and far past it: the buffer, and what is behind, stays."""
    largest = (1 << 63) - 1 - migration.region.offset - size
    at = min(place(migration.size, _room_after(migration)), largest)
    with anonymous(4 * PAGE) as memory:
        memory.write(0, CANARY)
        with contextlib.suppress(OSError):
            migration.region.read_to(memory.address, at, size)
        same = memory.read(0, len(CANARY)) == CANARY
    did = f"read {size} bytes at {at:#x} of {migration.size:#x}, look at the buffer"
    expect_true(same, did=did, expected="what was in it before", actual="something else")


@pytest.mark.rule("access.past-end")
@pytest.mark.parametrize("beyond", [1 << 31, 1 << 32, (1 << 32) + (1 << 31)], ids=hex)
def test_write_far_past_the_end(resuming: MigrationRegion, beyond: int) -> None:
    """Write where the lower half of the offset is inside the region: an error, nothing is taken."""
    offset = resuming.data_offset
    resuming.region.write_exact(offset, bytes(8))
    for at in (0, offset):
        with expect_errno(did=f"write 8 bytes at {beyond + at:#x}") as call:
            call.result = resuming.region.write(beyond + at, b"\x5a" * 8)
    expect_equal(resuming.region.read(offset, 8), bytes(8), did=f"read {offset:#x} after that")
    expect_equal(resuming.state, State.RESUMING, did="read device_state after that")


@pytest.mark.rule("access.past-end")
@pytest.mark.parametrize(("before", "size"), named({"2": (1, 2), "8": (4, 8), "page": (8, PAGE)}))
def test_read_across_the_end(migration: MigrationRegion, before: int, size: int) -> None:
    """Read across the end of the region: an error or short, memory past that is not written."""
    migration.enter(State.STOP_AND_COPY)
    with anonymous(2 * PAGE) as memory:
        memory.write(0, b"\xa5" * size)
        try:
            moved = migration.region.read_to(memory.address, migration.size - before, size)
        except OSError:
            moved = 0
        did = f"read {size} bytes, {before} before the end"
        if moved > before:
            fail(did=did, expected=f"an error or at most {before}", actual=f"{moved} bytes")
        beyond = memory.read(before, size - before)
        expect_equal(beyond.strip(b"\xa5"), b"", did=f"{did}, look at the buffer past {before}")


@pytest.mark.rule("access.past-end")
@pytest.mark.parametrize(("before", "size"), named({"at": (0, 4), "2": (1, 2), "page": (8, PAGE)}))
def test_write_across_the_end(resuming: MigrationRegion, before: int, size: int) -> None:
    """Write at and across the end of the region while resuming: an error or short."""
    try:
        moved = resuming.region.write(resuming.size - before, b"\x5a" * size)
    except OSError:
        moved = 0
    expect_true(
        moved <= before,
        did=f"write {size} bytes, {before} before the end",
        expected=f"an error or at most {before}",
        actual=f"{moved} bytes",
    )
    expect_equal(resuming.state, State.RESUMING, did="read device_state after that")


@pytest.mark.rule("access.past-end")
def test_mapping_past_the_end(migration: MigrationRegion) -> None:
    """Map past the last page of the region: an error."""
    if not migration.data_areas:
        pytest.skip("no part of the data section can be mapped")
    last = migration.data_areas[-1]
    with expect_errno(did=f"mmap from {last.offset:#x} to a page past the end") as call:
        call.result = migration.region.map(last.offset, migration.size - last.offset + PAGE)
    with expect_errno(did=f"mmap a page at {migration.size:#x}, where the region ends") as call:
        call.result = migration.region.map(migration.size, PAGE)


@pytest.mark.rule("access.past-end")
def test_mapping_cannot_grow(migration: MigrationRegion) -> None:
    """Grow a mapping of the data section by mremap() past the region: an error."""
    if not migration.data_areas:
        pytest.skip("no part of the data section can be mapped")
    last = migration.data_areas[-1]
    with (
        migration.region.map_area(last) as mapping,
        expect_errno(did="grow a mapping past the end of the region") as call,
    ):
        call.result = mapping.mremap(0, last.size, migration.size - last.offset + PAGE)


@pytest.mark.rule("access.whole")
@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("at", [0, 8])
def test_read_of_data_is_whole(
    migration: MigrationRegion, iteration: Buffer, at: int, size: int
) -> None:
    """Read data in an iteration at an aligned offset, in each width: all its bytes come."""
    if at + size > iteration.size:
        pytest.skip(f"the first buffer has only {iteration.size} bytes")
    data = migration.region.read(iteration.offset + at, size)
    expect_equal(data, iteration.data[at : at + size], did=f"read {size} bytes of data")


@pytest.mark.rule("access.whole")
@pytest.mark.parametrize("size", [3, 7, 33])
@pytest.mark.parametrize("at", [0, 1])
def test_odd_read_of_data(
    migration: MigrationRegion, iteration: Buffer, at: int, size: int
) -> None:
    """Read data in odd sizes at odd offsets: an error, or all its bytes."""
    if at + size > iteration.size:
        pytest.skip(f"the first buffer has only {iteration.size} bytes")
    try:
        data = migration.region.read(iteration.offset + at, size)
    except OSError:
        return
    did = f"read {size} bytes at data_offset + {at}"
    expect_equal(data, iteration.data[at : at + size], did=did)


@pytest.mark.rule("access.whole")
@pytest.mark.parametrize("size", [1, 2, 4, 8, PAGE])
def test_write_of_data_is_whole(resuming: MigrationRegion, size: int) -> None:
    """Write data while resuming, in one access of any size: all its bytes are taken."""
    offset = resuming.data_offset
    size = min(size, resuming.size - offset)
    moved = resuming.region.write(offset, b"\x5a" * size)
    expect_equal(moved, size, did=f"write {size} bytes of data")


#: Accesses that reach over the end of a page: bytes before it, and bytes in all.
OVER_A_PAGE = named(
    {
        "2": (1, 2),
        "4": (1, 4),
        "8": (3, 8),
        "odd": (5, 13),
        "page": (7, PAGE),
        "2-pages": (9, 2 * PAGE),
    }
)


@pytest.mark.rule("access.whole")
@pytest.mark.parametrize(("before", "size"), OVER_A_PAGE)
def test_data_over_a_page(
    resuming: MigrationRegion, rng: random.Random, before: int, size: int
) -> None:
    """Write data over the end of a page in one access, read it: each is whole, or an error."""
    at = resuming.data_offset + PAGE - before
    if at + size > resuming.size:
        pytest.skip(f"the section ends before {at + size:#x}")
    data = rng.randbytes(size)
    try:
        moved = resuming.region.write(at, data)
    except OSError:
        return
    expect_equal(moved, size, did=f"write {size} bytes at {at:#x}")
    seen = b"".join(resuming.region.read(at + n, 1) for n in range(min(size, 64)))
    expect_equal(seen, data[:64], did="read them byte by byte")
    expect_equal(resuming.region.read(at, size) == data, True, did="read them at once")


@pytest.mark.rule("access.past-end")
@pytest.mark.parametrize(("place", "size"), named(PAST))
def test_refused_read_leaves_the_buffer(
    migration: MigrationRegion, place: Callable[[int, int], int], size: int
) -> None:
    """Have a read past the end refused: the user's buffer is not written, nor what follows it."""
    largest = (1 << 63) - 1 - migration.region.offset - size
    at = min(place(migration.size, _room_after(migration)), largest)
    with anonymous(4 * PAGE) as memory:
        memory.write(0, b"\xa5" * (4 * PAGE))
        with expect_errno(did=f"read {size} bytes at {at:#x}") as call:
            call.result = migration.region.read_to(memory.address, at, size)
        left = memory.read(0, 4 * PAGE).strip(b"\xa5")
    expect_equal(left, b"", did=f"read {size} bytes at {at:#x}, look at the buffer")


#: Widths of which no field is, at places of the struct; each is an error.
ODD = named(
    {
        "1@0": (0, 1),
        "2@0": (0, 2),
        "8@0": (0, 8),
        "16@0": (0, 16),
        "4@8": (8, 4),
        "12@24": (24, 12),
        "32@0": (0, 32),
    }
)


@pytest.mark.rule("access.other-width")
@pytest.mark.parametrize(("at", "size"), ODD)
def test_refused_read_of_the_struct(migration: MigrationRegion, at: int, size: int) -> None:
    """Have a read of the struct refused for its width: the user's buffer is not written."""
    with anonymous(PAGE) as memory:
        memory.write(0, b"\xa5" * PAGE)
        with expect_errno(did=f"read {size} bytes at {at:#x}") as call:
            call.result = migration.region.read_to(memory.address, at, size)
        left = memory.read(0, PAGE).strip(b"\xa5")
    expect_equal(left, b"", did=f"read {size} bytes at {at:#x}, look at the buffer")
