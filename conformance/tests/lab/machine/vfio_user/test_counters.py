# SPDX-License-Identifier: GPL-2.0-only
"""What the suite reads as access counts is what the server counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from conformance.lab.machine.vfio_user.i40e import I40eVirtualFunction
from conformance.vfio.labdevice.counters import AccessCounters, Counts


@dataclass(frozen=True)
class FakeRegion:
    """A region whose accesses go straight to the server's model."""

    function: I40eVirtualFunction
    index: int

    def read_exact(self, offset: int, size: int) -> bytes:
        return self.function.read(self.index, offset, size)

    def read_int(self, offset: int, width: int = 4) -> int:
        return int.from_bytes(self.read_exact(offset, width), "little")

    def write_int(self, offset: int, value: int, width: int = 4) -> None:
        self.function.write(self.index, offset, value.to_bytes(width, "little"))


class FakeDevice:
    def __init__(self) -> None:
        self.function = I40eVirtualFunction()

    def region(self, index: int) -> Any:
        return FakeRegion(self.function, index)

    known = region

    def counters(self) -> AccessCounters | None:
        return AccessCounters.of(self)  # type: ignore[arg-type]


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


def test_counts_are_those_of_the_server(device: FakeDevice) -> None:
    bar = device.region(0)
    counters = device.counters()
    assert counters
    assert counters.read(bar, 0x2004) == Counts(0, 0, 0)
    bar.write_int(0x2004, 0x123)
    bar.write_int(0x2004, 0x321)
    bar.read_int(0x2004)
    assert counters.read(bar, 0x2004) == Counts(1, 2, 0x321)
    assert counters.read(bar, 0x2000) == Counts(0, 0, 0)


def test_device_without_capabilities_counts_nothing(device: FakeDevice) -> None:
    device.function.config.set(4, 0)
    assert device.counters() is None


def test_capability_of_another_vendor_is_not_taken(device: FakeDevice) -> None:
    device.function.config.set(0xE0, 0x12345678)
    assert device.counters() is None


def test_circular_list_comes_to_an_end(device: FakeDevice) -> None:
    config = device.function.config
    config.set(0xA0, config.get(0xA0) & ~0xFF00 | 0x4000)
    assert device.counters() is None
