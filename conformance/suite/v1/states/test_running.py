# SPDX-License-Identifier: GPL-2.0-only
"""Whether the device works where its state says that it runs, and stands where it does not."""

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno
from conformance.plugin.declared import Doorbell
from conformance.suite.support.cases import by_stage, named
from conformance.suite.support.doorbells import expect_written, ring_all
from conformance.suite.support.life import Life
from conformance.suite.support.receiving import expect_none_received, need_82576
from conformance.suite.v1.cases import by_state
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import attempt, expect_refused, save_and_run
from conformance.vfio.iommu.guest_memory import LoggedMemory
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.receiving.receiver import Receiver

STANDING = (State.STOPPED, State.STOP_AND_COPY, State.RESUMING, State.ERROR)

#: What is written, one after another, to a device that runs; each ends with it standing.
OUT = {
    "1->0": (0,),
    "1->2": (2,),
    "1->3->2": (3, 2),
    "1->4": (4,),
    "1->2->0": (2, 0),
    "1->3->2->0": (3, 2, 0),
    "0->0": (0, 0),
    "2->2": (2, 2),
    "1->0->2": (0, 2),
    "4->4": (4, 4),
}
#: The same; each ends with it running.
IN = {
    "0->1": (0, 1),
    "2->1": (2, 1),
    "3->1": (3, 1),
    "2->0->1": (2, 0, 1),
    "3->2->1": (3, 2, 1),
    "3->2->0->1": (3, 2, 0, 1),
    "0->2->1": (0, 2, 1),
    "1->1": (1,),
    "all-twice": (0, 1, 2, 1, 3, 1, 0, 1, 2, 1, 3, 1),
}


@pytest.mark.rule("state.stands")
@pytest.mark.parametrize("path", [pytest.param(path, id=name) for name, path in OUT.items()])
def test_stands(life: Life, migration: MigrationRegion, path: tuple[int, ...]) -> None:
    """Take the device out of _RUNNING: no register moves, no memory, no interrupt comes."""
    migration.enter(*path)
    life.expect_stands(f"write {path}")


@pytest.mark.rule("state.stands")
@pytest.mark.parametrize("state", by_state(STANDING))
def test_stands_after_a_refused_write(life: Life, reach: Reach, state: State) -> None:
    """Have a write refused in a state that does not run: the device still stands."""
    migration = reach(state)
    expect_refused(migration, 5)
    expect_refused(migration, 1 << 31)
    life.expect_stands(f"in state {state:d}, writes of 5 and of 1 << 31 refused")


@pytest.mark.rule("state.stands")
@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("stage", by_stage((Stage.STOPPED, Stage.STOP_COPY)))
def test_stands_whatever_is_set_up(saver: Saver, receiver: Receiver, stage: Stage) -> None:
    """Set a queue and bus master going while the device stands: it writes no memory."""
    need_82576(receiver)
    saver.enter(stage)
    expect_none_received(receiver, f"enter {stage.value}")


@pytest.mark.rule("state.stands")
def test_stands_after_all_was_read(life: Life, client: Client) -> None:
    """Take all of pre-copy and of stop-and-copy: the device stands until it is let run."""
    migration = client.migration
    migration.enter(State.PRE_COPY)
    client.read_all()
    migration.enter(State.STOP_AND_COPY)
    client.read_all()
    life.expect_stands("write 3, take all, write 2, take all")


@pytest.mark.rule("state.goes")
@pytest.mark.parametrize("path", [pytest.param(path, id=name) for name, path in IN.items()])
def test_goes(life: Life, migration: MigrationRegion, path: tuple[int, ...]) -> None:
    """Bring the device back to _RUNNING: it works as before."""
    migration.enter(*path)
    life.expect_works(f"write {path}")


@pytest.mark.rule("state.goes")
@pytest.mark.parametrize("state", by_state((State.STOPPED, State.STOP_AND_COPY)))
def test_work_queued_meanwhile_is_done(
    migration: MigrationRegion,
    doorbells: list[Doorbell],
    memory: LoggedMemory,
    state: State,
) -> None:
    """Ring doorbells of a stopped device, let it run: it writes to memory."""
    migration.enter(state)
    wanted = ring_all(doorbells)
    migration.enter(State.RUNNING)
    expect_written(memory, wanted, did=f"ring doorbells in state {state:d}, write 1, look")


@pytest.mark.rule("state.goes")
def test_goes_after_resuming(life: Life, client: Client) -> None:
    """Save a working device, resume it from that: it works as it did."""
    stream = save_and_run(client)
    client.resume(stream)
    life.expect_works("save, resume")


@pytest.mark.rule("state.goes")
@pytest.mark.parametrize("state", by_state())
def test_goes_after_a_reset(life: Life, reach: Reach, state: State) -> None:
    """Reset the device in any state, set it up anew: it works."""
    reach(state).device.reset()
    life.arm()
    life.expect_works(f"reset in state {state:d}, set up anew")


@pytest.mark.rule("state.goes")
@pytest.mark.parametrize("state", by_state((State.RUNNING, State.PRE_COPY)))
def test_goes_on_after_a_refused_write(life: Life, reach: Reach, state: State) -> None:
    """Have writes refused in a state that runs: the device goes on."""
    migration = reach(state)
    for value in (5, 6, 7, 1 << 31):
        expect_refused(migration, value)
    life.expect_works(f"in state {state:d}, writes of 5, 6, 7 and 1 << 31 refused")


@pytest.mark.rule("state.goes")
@pytest.mark.parametrize("new", [2, 3])
def test_goes_on_after_the_refusal(
    life: Life, migration: MigrationRegion, conflict: Mapping, new: int
) -> None:
    """Have a save refused because of a mapping: the device goes on."""
    assert conflict.size
    with expect_errno(did=f"write {new} while a mapping conflicts"):
        migration.set_state(new)
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")
    life.expect_works(f"write {new} while a mapping conflicts, refused")


@pytest.mark.rule("state.goes")
def test_goes_after_a_failed_resume(life: Life, client: Client) -> None:
    """Fail to resume, reset, set it up anew: the device works."""
    migration = client.migration
    migration.enter(State.RESUMING)
    attempt(migration, State.RUNNING)
    migration.device.reset()
    life.arm()
    life.expect_works("resume from nothing, reset, set up anew")


@pytest.mark.rule("state.precopy-runs")
@pytest.mark.parametrize("taken", named({"entered": False, "all-taken": True}))
def test_precopy_runs(life: Life, client: Client, taken: bool) -> None:
    """Enter pre-copy, at once and after all its data was taken: the device works."""
    client.migration.enter(State.PRE_COPY)
    if taken:
        client.read_all()
    life.expect_works("write 3" + (", take all data" if taken else ""))
    expect_equal(client.migration.state, State.PRE_COPY, did="read device_state after that")
