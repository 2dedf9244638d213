# SPDX-License-Identifier: GPL-2.0-only
"""Functions whose user has memory decoding off, or has put them to sleep."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conformance.plugin.checks import expect_equal
from conformance.vfio.pci import config
from conformance.vfio.pci.config import Config


@contextmanager
def decoding_off(space: Config) -> Iterator[None]:
    """Switch memory decoding off for a block."""
    space.set_command(on=config.MASTER, off=config.MEMORY)
    try:
        yield
        bits = space.command & (config.MASTER | config.MEMORY)
        expect_equal(bits, config.MASTER, did="switch decoding off, write states, read COMMAND")
    finally:  # the next test begins with this device, also where this one cannot be judged
        space.set_command(on=config.MEMORY)


@contextmanager
def in_d3hot(space: Config) -> Iterator[None]:
    """Put the function into D3hot for a block; skips where it cannot be."""
    if space.power_state is None:
        pytest.skip("the function has no power management")
    space.set_command(on=config.MASTER | config.MEMORY)
    space.set_power_state(config.D3HOT)
    if space.power_state != config.D3HOT:
        space.set_power_state(config.D0)
        pytest.skip("the function does not enter D3hot")
    try:
        yield
    finally:
        space.set_power_state(config.D0)
