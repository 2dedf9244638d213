# SPDX-License-Identifier: GPL-2.0-only
"""A device that is taken from its driver and given back."""

from contextlib import closing

import pytest

from conformance.migration.saver import Stage
from conformance.plugin.checks import expect_equal, fail
from conformance.plugin.devices import Devices
from conformance.plugin.fixtures import saver_of
from conformance.suite.support.binding import driver_of, unbound
from conformance.suite.support.steps import expect_whole
from conformance.vfio.device import Device
from conformance.vfio.errors import SysfsError

TURNS = 3


@pytest.mark.alone
@pytest.mark.rule("info.rebind")
def test_bound_again(device: Device, devices: Devices) -> None:
    """Take the device from its driver and give it back, three times: it runs and can be saved."""
    bdf = device.bdf
    driver = driver_of(devices, bdf)
    devices.close()
    for _ in range(TURNS):
        try:
            with unbound(bdf, driver):
                pass
        except SysfsError as error:
            fail(did="take the device, give it back", expected="it is bound", actual=str(error))
    with closing(saver_of(devices, devices.ready("device"))) as saver:
        expect_equal(saver.stage, Stage.RUNNING, did="bind it again, read the state")
        expect_whole(saver, saver.save(), did="bind it again, save")
