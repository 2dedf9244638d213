# SPDX-License-Identifier: GPL-2.0-only
"""State writes while the user has memory decoding off, or the function in D3hot.

A virtual machine monitor switches decoding off at its reset, and enters _RESUMING before it has
loaded the config space.
"""

import pytest

from conformance.migration.stream import difference
from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_success
from conformance.plugin.declared import Scratch
from conformance.suite.support.cases import named
from conformance.suite.support.life import Life
from conformance.suite.support.power import decoding_off, in_d3hot
from conformance.suite.support.steps import set_apart
from conformance.suite.v1.cases import MUST_ARCS, arcs_by_name, by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import attempt, expect_taken, save_and_run
from conformance.suite.v1.volatile import volatile_words, without
from conformance.vfio.pci.config import Config

STANDING = (State.STOPPED, State.STOP_AND_COPY, State.RESUMING)
ROUNDS = {"0-1": (0, 1), "2-1": (2, 1), "3-2-0-1": (3, 2, 0, 1), "0-2-1": (0, 2, 1)}


@pytest.mark.rule("state.decode-off")
@pytest.mark.parametrize(("old", "new"), arcs_by_name(MUST_ARCS))
def test_arc(reach: Reach, space: Config, old: State, new: State) -> None:
    """Switch decoding off, write a state: it is taken, and decoding stays off."""
    migration = reach(old)
    with decoding_off(space):
        expect_taken(migration, new, why="memory decoding off")


@pytest.mark.rule("state.decode-off")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_stands(life: Life, migration: MigrationRegion, space: Config, state: State) -> None:
    """Stop the device with decoding off, switch it on: the device stands."""
    with decoding_off(space):
        migration.enter(state)
    life.expect_stands(f"switch decoding off, write {state:d}, switch it on")


@pytest.mark.rule("state.decode-off")
@pytest.mark.parametrize("path", named({name: (path,) for name, path in ROUNDS.items()}))
def test_goes(life: Life, migration: MigrationRegion, space: Config, path: tuple[int, ...]) -> None:
    """Stop the device and let it run with decoding off, switch it on: the device works."""
    with decoding_off(space):
        migration.enter(*path)
    life.expect_works(f"switch decoding off, write {path}, switch it on")


@pytest.mark.rule("state.decode-off")
def test_saves(client: Client, scratch: list[Scratch], space: Config) -> None:
    """Save a device with decoding off: the stream is the one that it gives with decoding on."""
    set_apart(scratch, 0x13570A5)
    moving = volatile_words(client)
    on = save_and_run(client)
    with decoding_off(space):
        off = save_and_run(client)
    did = "save, switch decoding off, save again"
    expect_equal(difference(without(on, moving), without(off, moving)), "", did=did)


@pytest.mark.rule("state.decode-off")
def test_resumes(client: Client, scratch: list[Scratch], space: Config) -> None:
    """Resume a device with decoding off: its registers are those of the stream."""
    wanted = set_apart(scratch, 0x2460A53)
    stream = save_and_run(client)
    set_apart(scratch, 0)
    with decoding_off(space), expect_success(did="switch decoding off, resume"):
        client.resume(stream)
    now = [place.read() for place in scratch]
    expect_equal(now, wanted, did="switch decoding off, resume, switch it on, read registers")


@pytest.mark.rule("state.decode-off")
@pytest.mark.parametrize(("old", "new"), arcs_by_name(MUST_ARCS))
def test_arc_in_d3hot(reach: Reach, space: Config, old: State, new: State) -> None:
    """Write a state in D3hot: it is taken, or refused and still possible in D0."""
    migration = reach(old)
    with in_d3hot(space):
        taken = attempt(migration, new) is None
        expect_equal(migration.state, new if taken else old, did=f"write {new:d} in D3hot")
    expect_equal(migration.state, new if taken else old, did=f"write {new:d} in D3hot, enter D0")
    if not taken:
        expect_taken(migration, new, why="refused in D3hot before")


@pytest.mark.rule("state.decode-off")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_life_after_d3hot(
    life: Life, migration: MigrationRegion, space: Config, state: State
) -> None:
    """Have the device stop in D3hot, enter D0: it stands, or works where that was refused."""
    with in_d3hot(space):
        taken = attempt(migration, state) is None
    did = f"write {state:d} in D3hot, {'taken' if taken else 'refused'}, enter D0"
    if taken:
        life.expect_stands(did)
    else:
        life.expect_works(did)


@pytest.mark.rule("state.decode-off")
def test_saved_in_d3hot(client: Client, scratch: list[Scratch], space: Config) -> None:
    """Save in D3hot: if that is taken, the stream is the one that is given in D0."""
    set_apart(scratch, 0x5A5A135)
    moving = volatile_words(client)
    awake = save_and_run(client)
    with in_d3hot(space):
        asleep = None
        if attempt(client.migration, State.STOP_AND_COPY) is None:
            asleep = client.read_all()
    if asleep is None:
        asleep = save_and_run(client)
    did = "save in D0, save in D3hot or after it"
    expect_equal(difference(without(awake, moving), without(asleep, moving)), "", did=did)
