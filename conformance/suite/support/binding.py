# SPDX-License-Identifier: GPL-2.0-only
"""Takes a function from its driver, and gives it back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conformance.plugin.devices import Devices
from conformance.vfio.system import sysfs


def driver_of(devices: Devices, bdf: str) -> str:
    """Return the driver that a device may be taken from and given back to; skips without one."""
    driver = sysfs.driver(bdf)
    if devices.settings.as_is or not driver or not sysfs.may_be_bound(bdf):
        pytest.skip("this device may not be bound anew, or its bus knows no driver_override")
    return driver


@contextmanager
def unbound(bdf: str, driver: str) -> Iterator[int]:
    """Take the function from its driver for a block; yields the driver's file to bind it with."""
    sysfs.unbind(bdf)
    fd = os.open(sysfs.bus(bdf) / "drivers" / driver / "bind", os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
        sysfs.bind(bdf, driver)
