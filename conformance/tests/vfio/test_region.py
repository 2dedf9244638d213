# SPDX-License-Identifier: GPL-2.0-only
"""Reads and writes of a region, on a device that is a memory file."""

import errno
import os
from collections.abc import Iterator

import pytest

from conformance.tests.plugin.raising import raises_errno
from conformance.tests.vfio.fake_device import BAR0_SIZE, PAGE, FakeDevice
from conformance.vfio import trace
from conformance.vfio.errors import InfoError, ShortTransfer
from conformance.vfio.memory.areas import Area
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.region import Region, region_name


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    with FakeDevice() as device:
        yield device


@pytest.fixture
def bar(device: FakeDevice) -> Region:
    trace.start()
    return device.region(0)


def test_what_a_region_says(bar: Region) -> None:
    assert (bar.name, bar.size, bar.offset) == ("BAR0", BAR0_SIZE, 0)
    assert bar.readable
    assert bar.writable
    assert bar.mappable
    assert bar.runtime_areas == (Area(0, BAR0_SIZE),)
    assert bar.saving_areas == (Area(0, 2 * PAGE), Area(3 * PAGE, PAGE))
    assert bar.conflicting_areas == (Area(2 * PAGE, PAGE),)
    assert bar.type is None


def test_regions_leave_out_what_is_not_there(device: FakeDevice) -> None:
    assert [region.index for region in device.regions] == [0, 9]
    assert [region.index for region in device.find_regions(3, 1)] == [9]
    assert device.find_regions(3, 2) == ()


def test_names() -> None:
    assert [region_name(index) for index in (0, 5, 6, 7, 8, 9)] == [
        "BAR0",
        "BAR5",
        "ROM",
        "config",
        "VGA",
        "region 9",
    ]


def test_numbers_are_little_endian(bar: Region) -> None:
    bar.write_int(8, 0x11223344)
    assert bar.read(8, 4) == b"\x44\x33\x22\x11"
    assert bar.read_int(8, 2) == 0x3344
    assert trace.lines() == [
        "write BAR0 0x8 <- 0x11223344 = ok",
        "read BAR0 0x8+4 = 0x11223344",
        "read BAR0 0x8+2 = 0x3344",
    ]


def test_a_short_read_is_seen_and_an_exact_one_complains(device: FakeDevice) -> None:
    end = device.region(9).size
    region = device.region(9)
    assert len(region.read(end - 2, 4)) == 2
    with pytest.raises(ShortTransfer) as caught:
        region.read_int(end - 2, 4)
    assert (caught.value.moved, caught.value.wanted) == (2, 4)


def test_a_short_write_complains(bar: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar.device, "pwrite", lambda _data, _offset: 1)
    with pytest.raises(ShortTransfer, match="moved 1 of 4 bytes"):
        bar.write_int(0, 1)


def test_bad_buffers(bar: Region) -> None:
    for call in (bar.read_to, bar.write_from):
        with raises_errno(errno.EFAULT):
            call(1, 0, 4)


def test_raw_memory(bar: Region) -> None:
    with anonymous(PAGE) as memory:
        memory.store(0, 5)
        assert bar.write_from(memory.address, 16, 4) == 4
        assert bar.read_int(16) == 5
        assert bar.read_to(memory.address + 8, 16, 4) == 4
        assert memory.load(8) == 5


def test_a_mapping_shows_the_same_bytes(bar: Region) -> None:
    bar.write_int(PAGE, 0xABCD)
    with bar.map(PAGE, PAGE) as mapping:
        assert mapping.load(0) == 0xABCD
        assert str(mapping) == "BAR0 [0x1000, 0x2000)"
    with bar.map_area(Area(PAGE, PAGE)) as mapping:
        assert mapping.offset == PAGE


def test_mapping_through_another_descriptor(bar: Region) -> None:
    other = os.dup(bar.device.fd)
    with bar.map(0, PAGE, fd=other) as mapping:
        os.close(other)
        assert mapping.load(0) == 0


def test_reopen_keeps_regions_usable(device: FakeDevice) -> None:
    region = device.region(0)
    region.write_int(0, 7)
    device.reopen()
    assert region.read_int(0) == 0


def test_a_second_device_has_its_name_on_every_line() -> None:
    with FakeDevice(prefix="peer: ") as peer:
        trace.start()
        peer.region(0).read(0, 4)
        peer.close()
    assert trace.lines() == ["read peer: BAR0 0x0+4 = 0x0", "peer: close = ok"]


def test_a_buffer_that_never_suffices(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = device.region_info_raw

    def greedy(index: int, argsz: int, *, room: int | None = None) -> bytes:
        answer = raw(index, argsz, room=room)
        return (argsz + 8).to_bytes(4, "little") + answer[4:]

    monkeypatch.setattr(device, "region_info_raw", greedy)
    with pytest.raises(InfoError, match="larger buffer each time"):
        device.region_info(0)


def test_an_error_other_than_einval_is_not_hidden(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_index: int) -> Region:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(device, "region", broken)
    with pytest.raises(OSError, match="broken"):
        device.regions  # noqa: B018 - the property is what is tested
