# SPDX-License-Identifier: GPL-2.0-only
"""Which registers move by themselves, of a device that one test after another looks at."""

import os

from conformance.suite.support.life import Movements, moving
from conformance.suite.support.registers import Register
from conformance.tests.vfio.fake_device import BAR0_SIZE, FakeDevice

CLOCK = 0x40


class Ticking(FakeDevice):
    """A device with a clock; ``sizes`` has the sizes of all reads."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.ticks = True
        self._now = 0

    def pread(self, size: int, offset: int) -> bytes:
        """Let the clock go on, and read."""
        self.sizes.append(size)
        self._now += self.ticks
        os.pwrite(self.fd, self._now.to_bytes(4, "little"), CLOCK)
        return os.pread(self.fd, size, offset)


def test_what_moves_is_looked_for_once() -> None:
    known: Movements = {}
    device = Ticking()
    assert moving(device, known) == (Register("BAR0", CLOCK),)
    assert max(device.sizes) == BAR0_SIZE
    assert device.resets == 1, "it is fresh when all is looked at"
    device.sizes.clear()
    assert moving(device, known) == (Register("BAR0", CLOCK),)
    assert max(device.sizes) == 4


def test_what_does_not_move_any_more_is_looked_for_again() -> None:
    known: Movements = {}
    device = Ticking()
    moving(device, known)
    device.ticks = False
    device.sizes.clear()
    assert moving(device, known) == ()
    assert max(device.sizes) == BAR0_SIZE
    device.ticks = True
    assert moving(device, known) == (Register("BAR0", CLOCK),)


def test_what_one_function_does_says_nothing_of_another() -> None:
    known: Movements = {"0000:01:10.4": ()}
    assert moving(Ticking(), known) == (Register("BAR0", CLOCK),)
