# SPDX-License-Identifier: GPL-2.0-only
"""Takes a function from its driver, and gives it back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.vfio.system import sysfs


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
