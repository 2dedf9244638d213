# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts that the user has set up, over every way out of _RUNNING and back."""

import time

import pytest

from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal
from conformance.suite.support.cases import named
from conformance.suite.support.life import WHILE, Life, arrived, expect_all_arrive, raise_all
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.steps import save_and_run
from conformance.vfio.pci import config
from conformance.vfio.pci.config import Config
from conformance.vfio.pci.interrupts import Vectors

pytestmark = pytest.mark.usefixtures("triggers")  # before all that has to be set up

STANDING = (State.STOPPED, State.STOP_AND_COPY)
BACK = named(
    {
        "0-1": ((0, 1),),
        "2-1": ((2, 1),),
        "3-1": ((3, 1),),
        "2-0-1": ((2, 0, 1),),
        "3-2-1": ((3, 2, 1),),
        "0-2-1": ((0, 2, 1),),
        "all-twice": ((0, 1, 2, 1, 3, 1, 0, 1, 2, 1, 3, 1),),
    }
)


@pytest.mark.rule("irq.kept")
@pytest.mark.parametrize("path", BACK)
def test_arrive_again(
    life: Life, vectors: Vectors, migration: MigrationRegion, path: tuple[int, ...]
) -> None:
    """Leave _RUNNING and come back: each interrupt arrives."""
    assert vectors
    migration.enter(*path)
    expect_all_arrive(life, f"write {path}")


@pytest.mark.rule("irq.kept")
def test_arrive_after_a_resume(life: Life, vectors: Vectors, client: Client) -> None:
    """Resume the device from its own stream: each interrupt arrives."""
    assert vectors
    client.resume(save_and_run(client))
    expect_all_arrive(life, "save, resume")


@pytest.mark.rule("irq.kept")
def test_arrive_when_enabled_within_a_resume(life: Life, vectors: Vectors, client: Client) -> None:
    """Give the whole stream, enable the interrupts, write 1, as the client does: they arrive."""
    stream = save_and_run(client)
    vectors.disable()
    client.migration.enter(State.RESUMING)
    client.write_all(stream)
    vectors.enable()
    client.migration.set_state(State.RUNNING)
    expect_all_arrive(life, "resume, interrupts enabled before the write of 1")


@pytest.mark.rule("resume.round-trip")
def test_not_enabled_by_what_was_before(life: Life, vectors: Vectors, client: Client) -> None:
    """Load a save of disabled interrupts where they are enabled: none comes, until they are."""
    assert vectors
    expect_all_arrive(life, "enable them")
    if not life.disable():
        pytest.skip("this device does not show as disabled what is written as such")
    stream = save_and_run(client)
    arrived(vectors, raise_all(life))  # one that is late would count as raised later
    client.resume(stream)
    life.expect_disabled("enable interrupts, load a save without")
    expect_all_arrive(life, "load a save without interrupts, enable them")


@pytest.mark.rule("irq.kept")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_arrive_when_enabled_while_it_stands(
    life: Life, vectors: Vectors, migration: MigrationRegion, state: State
) -> None:
    """Enable the interrupts of a device that stands, let it run: they arrive, and none before."""
    vectors.disable()
    migration.enter(state)
    vectors.enable()
    life.expect_silence(f"write {state:d}, enable interrupts")
    migration.enter(State.RUNNING)
    vectors.take_all()
    expect_all_arrive(life, f"write {state:d}, enable interrupts, write 1")


@pytest.mark.rule("irq.kept")
@pytest.mark.parametrize("state", by_state((*STANDING, State.RESUMING)))
def test_none_while_it_stands(
    life: Life, vectors: Vectors, migration: MigrationRegion, state: State
) -> None:
    """Raise interrupts while the device stands: none comes."""
    assert vectors
    migration.enter(state)
    life.expect_silence(f"write {state:d}")


@pytest.mark.rule("irq.kept")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_raised_before(
    life: Life, vectors: Vectors, migration: MigrationRegion, state: State
) -> None:
    """Raise interrupts and stop the device at once: they come, now or when it runs again."""
    vectors.take_all()
    wanted = raise_all(life)
    migration.enter(state, State.RUNNING)
    did = f"raise interrupts, write {state:d} and 1"
    expect_equal(arrived(vectors, wanted), wanted, did=did)


@pytest.mark.rule("irq.kept")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_raised_while_it_stands(
    life: Life, vectors: Vectors, migration: MigrationRegion, state: State
) -> None:
    """Raise interrupts while the device stands, let it run: they come then."""
    migration.enter(state)
    vectors.take_all()
    wanted = raise_all(life)
    time.sleep(WHILE)
    migration.enter(State.RUNNING)
    did = f"write {state:d}, raise interrupts, write 1"
    expect_equal(arrived(vectors, wanted), wanted, did=did)


@pytest.mark.rule("irq.kept")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_raised_when_enabled_while_it_stands(
    life: Life, vectors: Vectors, migration: MigrationRegion, state: State
) -> None:
    """Enable interrupts of a device that stands, raise them, let it run: they come then."""
    vectors.disable()
    migration.enter(state)
    vectors.enable()
    wanted = raise_all(life)
    time.sleep(WHILE)
    early = vectors.take_all()
    migration.enter(State.RUNNING)
    did = f"write {state:d}, enable interrupts, raise them"
    expect_equal(early, [], did=did)
    expect_equal(arrived(vectors, wanted), wanted, did=f"{did}, write 1")


@pytest.mark.rule("irq.kept")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_raised_after_config_writes(
    life: Life, vectors: Vectors, migration: MigrationRegion, space: Config, state: State
) -> None:
    """Write the command register of a device that stands, raise interrupts: they come in 1."""
    migration.enter(state)
    space.set_command(off=config.MASTER)
    space.set_command(on=config.MASTER | config.MEMORY)
    vectors.take_all()
    wanted = raise_all(life)
    time.sleep(WHILE)
    did = f"write {state:d}, bus master off and on, raise interrupts"
    expect_equal(vectors.take_all(), [], did=did)
    migration.enter(State.RUNNING)
    expect_equal(arrived(vectors, wanted), wanted, did=f"{did}, write 1")
