# SPDX-License-Identifier: GPL-2.0-only
"""Config space and migration: what the user set stays, and what it switched off does no harm."""

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal
from conformance.suite.support.cases import named
from conformance.suite.v1.cases import by_state
from conformance.vfio.device import Device
from conformance.vfio.pci import config
from conformance.vfio.pci.config import Config
from conformance.vfio.pci.interrupts import Vectors

#: What is written to a device that runs, and comes back to it.
ROUND = {
    "0": (0, 1),
    "2": (2, 1),
    "3": (3, 1),
    "2-0": (2, 0, 1),
    "3-2": (3, 2, 1),
    "0-2": (0, 2, 1),
    "3-2-0": (3, 2, 0, 1),
}
ROUNDS = named({name: (path,) for name, path in ROUND.items()})


@pytest.mark.rule("state.keeps-config")
@pytest.mark.parametrize("path", ROUNDS)
def test_config_is_kept(migration: MigrationRegion, space: Config, path: tuple[int, ...]) -> None:
    """Set bus master and decoding, leave _RUNNING, come back: config space is as it was."""
    space.set_command(on=config.MASTER | config.MEMORY)
    before = space.read()
    migration.enter(*path)
    expect_equal(space.read(), before, did=f"write {path}, read config space")


@pytest.mark.rule("state.keeps-config")
@pytest.mark.parametrize("path", ROUNDS)
def test_bus_master_stays_off(
    migration: MigrationRegion, space: Config, path: tuple[int, ...]
) -> None:
    """Clear bus master, leave _RUNNING, come back: nobody has set it."""
    space.set_command(on=config.MEMORY, off=config.MASTER)
    before = space.command
    migration.enter(*path)
    expect_equal(space.command, before, did=f"write {path}, read the command register")


@pytest.mark.rule("state.keeps-config")
def test_config_is_kept_by_a_resume(client: Client, stream: list[bytes], space: Config) -> None:
    """Set bus master, resume the device: it is still set."""
    space.set_command(on=config.MASTER | config.MEMORY)
    before = space.read()
    client.resume(stream)
    expect_equal(space.read(), before, did="resume, read config space")


@pytest.mark.rule("state.keeps-config")
@pytest.mark.parametrize("path", ROUNDS)
def test_msix_is_kept(
    device: Device, migration: MigrationRegion, space: Config, path: tuple[int, ...]
) -> None:
    """Enable MSI-X, leave _RUNNING, come back: it is still enabled."""
    at = space.capability(config.MSIX)
    if at is None:
        pytest.skip("the function has no MSI-X")
    with Vectors(device, 1):
        before = space.read()
        migration.enter(*path)
        expect_equal(space.read(), before, did=f"enable MSI-X, write {path}, read config space")


@pytest.mark.rule("state.keeps-config")
@pytest.mark.parametrize("path", ROUNDS)
def test_msix_stays_off(migration: MigrationRegion, space: Config, path: tuple[int, ...]) -> None:
    """Set up no vector, leave _RUNNING, come back: nobody has enabled MSI-X.

    It is not compared with what it was before, as that can be what an earlier change has left.
    """
    migration.enter(*path)
    on = space.msix_is_on
    if on is None:
        pytest.skip("the function has no MSI-X")
    expect_equal(on, False, did=f"write {path}, read whether MSI-X is on")


@pytest.mark.rule("state.keeps-config")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.STOP_AND_COPY)))
def test_config_written_while_it_stands(
    migration: MigrationRegion, space: Config, state: State
) -> None:
    """Write config space while the device stands, let it run: it is as written then."""
    space.set_command(on=config.MEMORY, off=config.MASTER)
    migration.enter(state)
    space.set_command(on=config.MASTER)
    migration.enter(State.RUNNING)
    now = space.command & (config.MASTER | config.MEMORY)
    expect_equal(
        now,
        config.MASTER | config.MEMORY,
        did=f"write {state:d}, set bus master, write 1, read the command register",
    )
