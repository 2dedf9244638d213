# SPDX-License-Identifier: GPL-2.0-only
"""The clients: round trips, the monitor's exact order of calls, and what is an error."""

import errno
import os
from collections.abc import Iterator

import pytest

from conformance.migration.errors import EndlessStream, MoverUnusable, StateError, WindowError
from conformance.migration.stream import joined, rechunk
from conformance.migration.v1 import client as client_module
from conformance.migration.v1.client import Client
from conformance.migration.v1.movers import MOVERS
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.vmm import Vmm
from conformance.tests.plugin.raising import raises_errno
from conformance.tests.vfio.fake_device import BAR0_SIZE, DATA_SIZE, FakeDevice
from conformance.vfio.errors import ShortTransfer

REGISTERS = bytes(os.urandom(BAR0_SIZE))


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    with FakeDevice() as device:
        device.pwrite(REGISTERS, 0)
        yield device


@pytest.fixture
def migration(device: FakeDevice) -> MigrationRegion:
    return MigrationRegion.find(device)


@pytest.fixture
def vmm(migration: MigrationRegion) -> Vmm:
    return Vmm(migration)


@pytest.mark.parametrize("how", MOVERS)
def test_single_steps(how: str, migration: MigrationRegion) -> None:
    client = Client(migration, how=how)
    stream = client.save_stopped()
    assert joined(stream) == REGISTERS
    migration.set_state(1)
    assert client.save_live() == [b"hello", *stream]


@pytest.mark.parametrize("how", [None, *MOVERS])
def test_round_trip(how: str | None, migration: MigrationRegion) -> None:
    stream = Vmm(migration, how=how).save()
    with FakeDevice(prefix="peer: ") as peer:
        other = MigrationRegion.find(peer)
        Vmm(other, how=how).load(stream)
        assert peer.state == 1
        assert peer.pread(BAR0_SIZE, 0) == REGISTERS


def test_the_order_of_saving(device: FakeDevice, vmm: Vmm) -> None:
    vmm.start()
    assert vmm.pending() == 5
    assert vmm.iterate() == [b"hello"]
    stream = vmm.stop()
    one = ["read pending", "read offset", "read size"]
    assert device.log == [
        "read state",
        "state <- 3",
        "read pending",
        *one,
        "read pending",
        "read state",
        "state <- 2",
        "read state",
        "state <- 2",
        *one * 3,
        "read pending",
        "read state",
        "state <- 0",
    ]
    assert joined(stream[1:]) == REGISTERS
    assert vmm.stream == stream


def test_the_order_of_loading(device: FakeDevice, vmm: Vmm) -> None:
    stream = vmm.save()
    vmm.give_up()
    device.log.clear()
    vmm.load(stream[1:])
    sizes = [len(chunk) for chunk in stream[1:]]
    chunks = [line for size in sizes for line in ("read offset", f"size <- {size}")]
    assert device.log == ["read state", "state <- 4", *chunks, "read state", "state <- 1"]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_give_up(steps: int, device: FakeDevice, vmm: Vmm) -> None:
    vmm.start()
    if steps >= 1:
        vmm.change_state(~1, 0)
    if steps >= 2:
        vmm.change_state(~2, 0)
    assert device.state == (3, 2, 0)[steps]
    vmm.give_up()
    assert device.state == 1
    assert device.log[-1] == "state <- 1"


def test_iterate_stops_at_a_limit(vmm: Vmm) -> None:
    vmm.start()
    assert vmm.iterate(0) == []
    assert vmm.iterate(5) == [b"hello"]
    vmm.finish()


def test_a_chunk_larger_than_the_section_is_cut(device: FakeDevice, vmm: Vmm) -> None:
    stream = vmm.save()
    vmm.give_up()
    device.log.clear()
    vmm.load(rechunk(stream[1:], BAR0_SIZE))
    assert [line for line in device.log if line.startswith("size")] == [
        f"size <- {DATA_SIZE}",
        f"size <- {DATA_SIZE}",
    ]


def test_a_refused_start_leaves_nothing_mapped(device: FakeDevice, vmm: Vmm) -> None:
    device.defects.add("busy")
    with raises_errno(errno.EBUSY):
        vmm.start()
    assert device.state == 1
    with pytest.raises(StateError, match="call start"):
        vmm.iterate()


def test_a_refused_load_leaves_nothing_mapped(device: FakeDevice, vmm: Vmm) -> None:
    device.state = 3
    with raises_errno(errno.EINVAL):
        vmm.load([])


def test_a_bad_stream_is_refused_in_the_end(device: FakeDevice, vmm: Vmm) -> None:
    with raises_errno(errno.EINVAL):
        vmm.load([b"not a stream"])
    assert device.state == 4


def test_the_error_state_is_not_written_over(device: FakeDevice, vmm: Vmm) -> None:
    device.state = 6
    with pytest.raises(StateError, match="only a reset leaves it"):
        vmm.start()
    assert device.log == ["read state"]


def test_without_a_mapping_the_data_goes_in_aligned_accesses(migration: MigrationRegion) -> None:
    migration.data_areas = ()
    assert joined(Vmm(migration).save()[1:]) == REGISTERS
    Vmm(migration).give_up()
    with pytest.raises(MoverUnusable):
        Vmm(migration, how="mmap").start()


def test_a_short_transfer_is_an_error(device: FakeDevice, migration: MigrationRegion) -> None:
    device.defects.add("short data")
    vmm = Vmm(migration, how="aligned")
    vmm.start()
    with pytest.raises(ShortTransfer):
        vmm.iterate()
    vmm.give_up()


def test_a_window_in_the_struct(device: FakeDevice, migration: MigrationRegion) -> None:
    device.defects.add("offset in struct")
    client = Client(migration)
    with pytest.raises(WindowError, match="data_offset 0x8"):
        client.save_stopped()
    with pytest.raises(WindowError, match="data_offset 0x8"):
        client.room()


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_STALLED"])
def test_a_stream_without_an_end(
    limit: str, device: FakeDevice, migration: MigrationRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.defects.add("endless")
    monkeypatch.setattr(client_module, limit, 3)
    with pytest.raises(EndlessStream, match="pending_bytes is not 0"):
        Client(migration).save_stopped()


def test_resume(device: FakeDevice, migration: MigrationRegion) -> None:
    client = Client(migration)
    stream = client.save_stopped()
    migration.set_state(1)
    device.pwrite(bytes(BAR0_SIZE), 0)
    client.resume(stream)
    assert device.pread(BAR0_SIZE, 0) == REGISTERS
