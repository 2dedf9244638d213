# SPDX-License-Identifier: GPL-2.0-only
"""Steps that many tests of version 1 take, and the judgements that belong to them."""

from collections.abc import Iterator
from dataclasses import dataclass

from conformance.migration.stream import Stream, total
from conformance.migration.v1.client import Buffer, Client, Progress
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.states import words
from conformance.model.v1 import states
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true, fail


@dataclass(frozen=True)
class Announced:
    """What one iteration of saving announces, in bytes; the data is left where it is."""

    pending: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """First byte after the buffer."""
        return self.offset + self.size


def attempt(migration: MigrationRegion, value: int) -> int | None:
    """Write device_state; return the errno of the refusal, None if the write was taken."""
    try:
        migration.set_state(value)
    except OSError as error:
        return error.errno
    return None


def expect_refused(migration: MigrationRegion, value: int, *errnos: int, why: str = "") -> None:
    """Demand that a write of device_state is refused and that the state stays."""
    __tracebackhide__ = True
    old = migration.state
    did = f"write {words(value)} in state {words(old)}{why and f', {why}'}"
    with expect_errno(*errnos, did=did):
        migration.set_state(value)
    expect_equal(migration.state, old, did=f"{did}, then read device_state")


def expect_taken(migration: MigrationRegion, value: int, *, why: str = "") -> None:
    """Demand that a write of device_state succeeds and is read back."""
    __tracebackhide__ = True
    did = f"write {words(value)}{why and f', {why}'}"
    with expect_success(did=did):
        migration.set_state(value)
    expect_equal(migration.state, value, did=f"{did}, then read device_state")


def expect_after_failure(migration: MigrationRegion, old: State, did: str) -> None:
    """Demand the old state, or error, after a write that failed."""
    __tracebackhide__ = True
    now = migration.state
    allowed = states.after_failure(old)
    expected = " or ".join(words(state) for state in allowed)
    expect_true(now in allowed, did=did, expected=expected, actual=words(now))


def to_running(migration: MigrationRegion) -> None:
    """Bring a device back to _RUNNING: by the arc, or by a reset where there is none."""
    if attempt(migration, State.RUNNING) is not None:
        migration.device.reset()


def save_and_run(client: Client) -> Stream:
    """Save a running device in stop-and-copy and let it run again."""
    migration = client.migration
    migration.set_state(State.STOP_AND_COPY)
    stream = client.read_all()
    migration.set_state(State.RUNNING)
    return stream


def expect_whole(client: Client, stream: Stream, *, did: str) -> None:
    """Demand that a running device can be resumed from the stream."""
    __tracebackhide__ = True
    with expect_success(did=f"{did}, then resume from the {total(stream)} bytes that were read"):
        client.resume(stream)
    expect_equal(client.migration.state, State.RUNNING, did=f"{did}, then resume")


def expect_not_resumed(client: Client, stream: Stream, *, did: str) -> None:
    """Demand that a running device refuses the stream, at the latest when it should run.

    After it the device is in the state of resuming or in error, and a reset leaves that.
    """
    __tracebackhide__ = True
    migration = client.migration
    migration.set_state(State.RESUMING)
    with expect_errno(did=f"{did}, then write {words(State.RUNNING)}"):
        client.write_all(stream)
        migration.set_state(State.RUNNING)
    expect_after_failure(migration, State.RESUMING, did=f"{did}, after the refusal")
    migration.device.reset()
    expect_equal(migration.state, State.RUNNING, did=f"{did}, then reset")


def windows(migration: MigrationRegion) -> Iterator[Announced]:
    """Go through the iterations of a saving device without reading any data.

    The read of pending_bytes that begins an iteration ends the one before it. Raises
    :class:`~conformance.migration.errors.EndlessStream` if that goes on and on.
    """
    progress = Progress()
    while pending := migration.pending_bytes:
        window = Announced(pending, migration.data_offset, migration.data_size)
        yield window
        if not window.size:
            return
        progress.note(pending, window.size)


def begin_iteration(client: Client) -> Buffer:
    """Begin the first iteration of a device that has just entered stop-and-copy, read its data.

    Only for a device of which it is known that it has something to say.
    """
    __tracebackhide__ = True
    with expect_success(did="begin an iteration in stop-and-copy"), client.moving() as move:
        buffer = client.read_buffer(move)
    if buffer is None or not buffer.size:
        fail(did="begin an iteration in stop-and-copy", expected="data", actual="none")
    return buffer
