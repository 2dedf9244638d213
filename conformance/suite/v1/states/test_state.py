# SPDX-License-Identifier: GPL-2.0-only
"""Device states: which writes succeed, which are refused, and what is read back."""

import pytest

from conformance.migration.v1.client import Client, Progress
from conformance.migration.v1.region import DEVICE_STATE, MigrationRegion
from conformance.migration.v1.states import words
from conformance.model.v1 import states
from conformance.model.v1.states import State, Verdict
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.plugin.devices import Observe
from conformance.suite.v1.cases import (
    all_pairs,
    arcs_by_name,
    arcs_by_rule,
    by_state,
    must_arcs,
    name_of,
    refusable,
)
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import (
    attempt,
    expect_after_failure,
    expect_refused,
    expect_taken,
    expect_whole,
)
from conformance.vfio.device import Device

#: What the last user may leave behind.
LEFT = (State.STOP_AND_COPY, State.PRE_COPY, State.RESUMING, State.ERROR)
UNKNOWN_BITS = tuple(1 << bit for bit in range(3, 32))


@pytest.mark.rule("state.default")
@pytest.mark.parametrize("left", by_state(LEFT))
def test_default(device: Device, reach: Reach, left: State) -> None:
    """Leave the device in a state, close and open it: it reads exactly _RUNNING."""
    migration = reach(left)
    device.reopen()
    expect_equal(migration.state, State.RUNNING, did=f"close it in state {left:d}, open it")


@pytest.mark.rule("state.default")
def test_default_has_no_data(client: Client, stream: list[bytes]) -> None:
    """Leave half a stream behind, open again, resume: only what is sent now counts."""
    migration = client.migration
    migration.enter(State.RESUMING)
    client.write_all([stream[0]])
    migration.device.reopen()
    expect_whole(client, stream, did="close it while resuming, open it")


@pytest.mark.parametrize(("old", "new"), arcs_by_rule(must_arcs("state.arc")))
def test_arc(reach: Reach, old: State, new: int) -> None:
    """Write the state to which the uapi draws an arc: it succeeds and is read back."""
    expect_taken(reach(old), new, why=f"in state {old:d}")


@pytest.mark.parametrize(("old", "new"), arcs_by_rule(must_arcs("state.arc-vmm")))
def test_give_up(reach: Reach, client: Client, old: State, new: int) -> None:
    """Give a migration up: the device runs, and can be saved as if nothing had been."""
    expect_taken(reach(old), new, why=f"in state {old:d}")
    with expect_success(did=f"{name_of(old, new)}, then save"):
        client.save_stopped()


@pytest.mark.rule("state.arc-vmm.same")
@pytest.mark.parametrize("state", by_state())
def test_same(reach: Reach, state: State) -> None:
    """Write the current value: it succeeds and the state stays."""
    expect_taken(reach(state), state, why=f"in state {state:d}")


@pytest.mark.rule("state.arc-vmm.same")
@pytest.mark.parametrize("state", by_state((State.STOP_AND_COPY, State.PRE_COPY)))
def test_same_while_saving(reach: Reach, client: Client, state: State) -> None:
    """Write the current value while saving, as the monitor does: the stream stays whole."""
    migration = reach(state)
    migration.set_state(state)
    stream = client.read_all()
    migration.set_state(State.STOP_AND_COPY)
    stream += client.read_all()
    migration.set_state(State.RUNNING)
    expect_whole(client, stream, did=f"write {state:d} in state {state:d} while saving")


@pytest.mark.rule("state.arc-vmm.same")
def test_same_between_buffers(reach: Reach, client: Client) -> None:
    """Write 2 after each buffer of a stopped device: none comes again, the stream is whole."""
    migration = reach(State.STOP_AND_COPY)
    stream, progress = [], Progress()
    with client.moving() as move:
        while (buffer := client.read_buffer(move)) and buffer.size:
            stream.append(buffer.data)
            progress.note(buffer.pending, buffer.size)
            migration.set_state(State.STOP_AND_COPY)
    migration.set_state(State.RUNNING)
    expect_whole(client, stream, did="write 2 after each buffer")


@pytest.mark.rule("state.arc-vmm.same")
def test_same_while_resuming(client: Client, stream: list[bytes]) -> None:
    """Write 4 after each buffer while resuming: nothing that was sent is lost."""
    migration = client.migration
    migration.enter(State.RESUMING)
    for chunk in stream:
        client.write_all([chunk])
        migration.set_state(State.RESUMING)
    expect_taken(migration, State.RUNNING, why="after a stream with writes of 4 in between")


@pytest.mark.parametrize(("old", "new"), arcs_by_rule(states.arcs(Verdict.FREE)))
def test_free_arc(reach: Reach, observe: Observe, old: State, new: int) -> None:
    """Write a state to which no arc is drawn: taken whole or refused whole."""
    migration = reach(old)
    if attempt(migration, new) is None:
        expect_equal(migration.state, new, did=f"{name_of(old, new)} was taken, read device_state")
        observe(states.rule(old, new), "accepted")
    else:
        expect_after_failure(migration, old, did=f"{name_of(old, new)} was refused")
        observe(states.rule(old, new), "refused")


@pytest.mark.parametrize(("old", "new"), arcs_by_rule(states.arcs(Verdict.FREE)))
def test_free_arc_is_whole(
    reach: Reach, client: Client, stream: list[bytes], old: State, new: int
) -> None:
    """Go on after an arc that is not drawn: what was reached works, or what was left does."""
    migration = reach(old)
    taken = attempt(migration, new) is None
    did = f"{name_of(old, new)} was {'taken' if taken else 'refused'}, go on"
    with expect_success(did=did):
        if taken and new == State.RESUMING:
            client.write_all(stream)
        finish(client)
    expect_equal(migration.state, State.RUNNING, did=did)


def finish(client: Client) -> None:
    """Do what the state is for and let the device run; in state 4 a stream was given already."""
    migration = client.migration
    if migration.state == State.ERROR:
        migration.device.reset()
    elif State(migration.state).saving:
        migration.enter(State.STOP_AND_COPY)
        saved = client.read_all()
        migration.enter(State.RUNNING)
        client.resume(saved)
    else:
        migration.enter(State.RUNNING)


@pytest.mark.rule("state.readback")
@pytest.mark.parametrize(("old", "new"), arcs_by_name(all_pairs()))
def test_readback(reach: Reach, old: State, new: int) -> None:
    """Write any state in any state: the new one is read back, or the old one, or error."""
    migration = reach(old)
    if attempt(migration, new) is None:
        expect_equal(migration.state, new, did=f"{name_of(old, new)} succeeded, read device_state")
    else:
        expect_after_failure(migration, old, did=f"{name_of(old, new)} failed, read device_state")


@pytest.mark.rule("state.failure-errno")
@pytest.mark.parametrize(("old", "value"), arcs_by_name(refusable()))
def test_failure_errno(reach: Reach, old: State, value: int) -> None:
    """Write what may be refused: an error, or 4 bytes taken and the value read back."""
    migration = reach(old)
    did = f"write {words(value)} in state {old:d}"
    try:
        moved = migration.region.write(DEVICE_STATE.offset, value.to_bytes(4, "little"))
    except OSError:
        return
    expect_equal((moved, migration.state), (4, value), did=f"{did}: byte count and state")


@pytest.mark.rule("state.failure-errno")
def test_failure_errno_after_nothing_was_sent(
    migration: MigrationRegion, stream: list[bytes]
) -> None:
    """Leave resuming though nothing was sent: an error, no byte count."""
    migration.enter(State.RESUMING)
    with expect_errno(did=f"resume from none of {len(stream)} buffers, write 1") as call:
        call.result = migration.region.write(DEVICE_STATE.offset, bytes([1, 0, 0, 0]))
    expect_after_failure(migration, State.RESUMING, did="read device_state after that")


@pytest.mark.rule("state.invalid")
@pytest.mark.parametrize("value", states.UNWRITABLE)
@pytest.mark.parametrize("old", by_state())
def test_invalid(reach: Reach, old: State, value: int) -> None:
    """Write 5, 6 or 7 in any state: an error, and the state stays."""
    expect_refused(reach(old), value)


@pytest.mark.rule("state.unknown-bits")
@pytest.mark.parametrize("known", [State.RUNNING, State.STOPPED, State.STOP_AND_COPY])
def test_each_unknown_bit(migration: MigrationRegion, known: State) -> None:
    """Write a legal state with each of bits 3 to 31: an error each time, the state stays."""
    taken = [hex(bit) for bit in UNKNOWN_BITS if attempt(migration, known | bit) is None]
    expect_equal(taken, [], did=f"write {known:d} with each of bits 3 to 31, which are taken?")
    expect_equal(migration.state, State.RUNNING, did="read device_state after that")


@pytest.mark.rule("state.unknown-bits")
@pytest.mark.parametrize("old", by_state())
def test_unknown_bits_in_any_state(reach: Reach, old: State) -> None:
    """Write unknown bits with and without known ones in any state: an error, the state stays."""
    migration = reach(old)
    expect_refused(migration, 0xFFFFFFF8)
    expect_refused(migration, 0x80000000 | old)
    expect_refused(migration, 0x100 | State.RUNNING)


@pytest.mark.rule("state.error-exit")
@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 6])
def test_error_is_left_by_no_write(reach: Reach, value: int) -> None:
    """Write any state in the error state: an error, and it stays in error."""
    expect_refused(reach(State.ERROR), value)


@pytest.mark.rule("state.error-exit")
def test_error_is_left_by_reset(reach: Reach, client: Client) -> None:
    """Reset a device in the error state: it runs, and can be saved and resumed."""
    migration = reach(State.ERROR)
    migration.device.reset()
    expect_equal(migration.state, State.RUNNING, did="reset in the error state")
    stream = client.save_stopped()
    migration.enter(State.RUNNING)
    expect_whole(client, stream, did="reset in the error state, save")


@pytest.mark.rule("state.stop-optional")
@pytest.mark.parametrize("how", ["stop-and-copy", "pre-copy"])
def test_no_stop_is_needed(client: Client, how: str) -> None:
    """Save and resume a device that was never stopped by 1->0: all of it succeeds."""
    with expect_success(did=f"save by {how} and resume without a 1->0"):
        stream = client.save_live() if how == "pre-copy" else client.save_stopped()
    client.migration.enter(State.RUNNING)
    expect_whole(client, stream, did=f"save by {how} without a 1->0")


@pytest.mark.rule("state.reset")
@pytest.mark.parametrize("old", by_state((State.STOPPED, State.RUNNING, *LEFT)))
def test_reset(reach: Reach, old: State) -> None:
    """Reset in any state: the state is _RUNNING."""
    migration = reach(old)
    with expect_success(did=f"VFIO_DEVICE_RESET in state {old:d}"):
        migration.device.reset()
    expect_equal(migration.state, State.RUNNING, did=f"reset in state {old:d}")


@pytest.mark.rule("state.reset")
def test_reset_drops_what_was_sent(client: Client, stream: list[bytes]) -> None:
    """Give a whole stream, reset, resume from nothing: it is refused, the stream is gone."""
    migration = client.migration
    migration.enter(State.RESUMING)
    client.write_all(stream)
    migration.device.reset()
    migration.enter(State.RESUMING)
    with expect_errno(did="resume from nothing after a reset"):
        migration.set_state(State.RUNNING)
    expect_after_failure(migration, State.RESUMING, did="read device_state after that")


@pytest.mark.rule("state.reset")
@pytest.mark.parametrize("old", by_state((State.STOP_AND_COPY, State.PRE_COPY)))
def test_reset_drops_what_was_saved(reach: Reach, client: Client, old: State) -> None:
    """Reset in the middle of a save, save again: the new stream is whole."""
    migration = reach(old)
    if migration.pending_bytes:
        expect_true(migration.data_offset, did="read data_offset", expected="not 0", actual="0")
    migration.device.reset()
    stream = client.save_stopped()
    migration.enter(State.RUNNING)
    expect_whole(client, stream, did=f"reset in state {old:d}, save")
