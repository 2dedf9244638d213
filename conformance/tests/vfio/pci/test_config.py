# SPDX-License-Identifier: GPL-2.0-only
"""Config space, as the lab's model of a function has it."""

from typing import Any

import pytest

from conformance.lab.machine.vfio_user.i40e import I40eVirtualFunction
from conformance.uapi import constants as c
from conformance.vfio.device import Device
from conformance.vfio.pci import config, resets
from conformance.vfio.pci.config import Config
from conformance.vfio.region import Region, RegionInfo


class ModelDevice(Device):
    """The model's config space without a kernel; other regions are not there."""

    def __init__(self, bdf: str = "0000:01:00.0") -> None:
        self.bdf = bdf
        self.prefix = ""
        self.function = I40eVirtualFunction()
        self.group: Any = None
        self.fd = -1

    def region(self, index: int) -> Region:
        """Return config space."""
        assert index == c.VFIO_PCI_CONFIG_REGION_INDEX
        return Region(self, RegionInfo(0, 0, 3, index, 0, 4096, 0, ()))

    def pread(self, size: int, offset: int) -> bytes:
        """Read the model."""
        return self.function.config.read(offset, size)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write the model."""
        self.function.config.write(offset, data)
        return len(data)


@pytest.fixture
def device() -> ModelDevice:
    return ModelDevice()


def test_capabilities_are_found(device: ModelDevice) -> None:
    space = Config(device)
    found = [space.capability(n) for n in (config.POWER_MANAGEMENT, config.MSIX, config.EXPRESS)]
    assert found == [0x40, 0x70, 0xA0]
    assert space.capability(0x05) is None


def test_a_list_without_end_ends(device: ModelDevice) -> None:
    device.function.config._bytes[0x41] = 0x40
    assert Config(device).capability(config.MSIX) is None


def test_bits_of_command_are_set_and_cleared(device: ModelDevice) -> None:
    space = Config(device)
    space.set_command(on=config.MEMORY | config.MASTER)
    assert space.command == config.MEMORY | config.MASTER
    space.set_command(off=config.MASTER)
    assert space.command == config.MEMORY


def test_power_states(device: ModelDevice) -> None:
    space = Config(device)
    assert space.power_state == config.D0
    space.set_power_state(config.D3HOT)
    assert space.power_state == config.D3HOT


def test_reset_by_config_space(device: ModelDevice) -> None:
    assert resets.lacking(device, "config-space") == ""
    resets.by_config(device)
    assert device.function.resets == 1


@pytest.mark.parametrize("way", ["config-space", "hot-reset", "sysfs"])
def test_a_software_device_has_its_own_reset_only(way: str) -> None:
    assert resets.lacking(ModelDevice("soft.0"), "ioctl") == ""
    assert resets.lacking(ModelDevice("soft.0"), way) == "this is not a PCI function"
