# SPDX-License-Identifier: GPL-2.0-only
"""Steps that tests of version 2 take, and the judgements that belong to them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENODEV, ENOMSG
from pathlib import Path
from types import FrameType
from typing import Final

from conformance.migration.stream import Stream, total
from conformance.migration.v2.client import Client
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true, fail
from conformance.plugin.protocols import not_applicable
from conformance.vfio.data_file import DataFile

#: Seconds after which a call that should not block is taken for one that hangs.
PATIENCE: Final = 10.0
#: Requests that tests skip, because the kernel is known to die of them: --vfio-fatal.
SPARED: Final[set[str]] = set()
#: States after a load that failed: nothing of it counts as loaded.
FAILED: Final = (State.RESUMING, State.ERROR)
_FDS: Final = Path("/proc/self/fd")


@contextmanager
def in_time(did: str, seconds: float = PATIENCE) -> Iterator[None]:
    """Demand that the block ends in time: a call that hangs is broken off by a signal.

    A kernel that spins and never looks at signals loses the machine instead: the lab reports that.
    """
    __tracebackhide__ = True

    def late(_number: int, _frame: FrameType | None) -> None:
        fail(did=did, expected=f"an end within {seconds:g} s", actual="a call that hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def state_of(client: Client) -> State:
    """Return the state that GET has; a number that is no state fails its rule."""
    __tracebackhide__ = True
    now = client.state
    if now not in tuple(State):
        fail("mig2.get", did="GET the state", expected="a state", actual=str(now))
    return State(now)


def lives(file: DataFile) -> bool | None:
    """Return whether a data_fd of which nothing was read is a session's; None if it is unclear.

    A load may refuse the byte that is written for what it is; no session is ENODEV in the kernel.
    """
    try:
        return bool(file.write(b"\0") if file.is_writable else file.read(1))
    except OSError as error:
        if error.errno == ENOMSG:
            return True
        return None if file.is_writable and error.errno != ENODEV else False


def need_states(client: Client, *states: State) -> None:
    """Leave the test if the device's flags do not give it one of the states."""
    for state in states:
        if state not in fsm.states(client.flags):
            not_applicable(f"the device has no {state.name}: its flags are {client.flags:#x}")


def need_flag(client: Client, flag: int, name: str) -> None:
    """Leave the test if the device does not offer a flag."""
    if not client.flags & flag:
        not_applicable(f"the device does not offer {name}")


def reach(client: Client, state: State) -> Client:
    """Bring a running device to a state, with what belongs to it.

    In RESUMING a whole stream of its own has been given, so that it can be left. ERROR is reached
    by a stream that must be refused; on a device that never shows it the test is not applicable.
    """
    if state is State.ERROR:
        return _reach_error(client)
    need_states(client, state)
    if state is State.RESUMING:
        stream = client.save()
        client.set(State.RESUMING)
        client.write_all(stream)
    elif state is not State.RUNNING:
        client.set(state)
    return client


def _reach_error(client: Client) -> Client:
    client.set(State.RESUMING)
    refused = client.attempt(State.STOP)
    if refused is None:
        not_applicable("this device has no state to migrate: it stops after nothing was sent")
    if state_of(client) != State.ERROR:
        client.device.reset()
        not_applicable("this device does not show ERROR after a failed load")
    return client


def expect_taken(client: Client, new: int, *, did: str = "") -> DataFile | None:
    """Demand that a state can be set, and that the device then says it; return a new data_fd."""
    __tracebackhide__ = True
    did = did or f"SET {State(new).name} in {state_of(client).name}"
    with expect_success(did=did):
        file = client.set(new)
    expect_equal(state_of(client), new, did=f"{did}, then GET")
    return file


def expect_refused(client: Client, new: int, *errnos: int, did: str = "") -> None:
    """Demand that a state cannot be set, and that nothing has changed."""
    __tracebackhide__ = True
    old, before = state_of(client), open_files()
    did = did or f"SET {new} in {old.name}"
    with expect_errno(*errnos, did=did):
        client.set(new)
    expect_equal(state_of(client), old, did=f"{did}, then GET")
    expect_equal(open_files(), before, did=f"{did}, count open descriptors")


def expect_goes_on(client: Client) -> None:
    """Demand that a device that has refused a request takes real steps: to STOP, to RUNNING."""
    __tracebackhide__ = True
    for state in (State.STOP, State.RUNNING):
        expect_taken(client, state, did=f"SET {state.name} after a refused SET")


def expect_whole(client: Client, stream: Stream, *, did: str) -> None:
    """Demand that a device can be resumed from a stream, and then runs."""
    __tracebackhide__ = True
    with expect_success(did=f"{did}, then resume from {total(stream)} bytes"):
        client.load(stream)
    expect_equal(state_of(client), State.RUNNING, did=f"{did}, then resume")


def expect_not_loaded(
    client: Client, stream: Stream, *, did: str, left: tuple[State, ...] = FAILED
) -> None:
    """Demand that a load is refused at the latest when it is left, and that reset gives up.

    ``left`` has the states that are right after the refusal.
    """
    __tracebackhide__ = True
    client.set(State.RESUMING)
    with expect_errno(did=f"{did}, then SET RUNNING"):
        client.write_all(stream)
        client.set(State.RUNNING)
    now = state_of(client)
    expected = " or ".join(state.name for state in left)
    expect_true(now in left, did=f"{did}, then GET", expected=expected, actual=now.name)
    client.device.reset()
    expect_equal(state_of(client), State.RUNNING, did=f"{did}, then reset")


def expect_dead(file: DataFile, *, did: str) -> None:
    """Demand that the file of a session that has ended gives and takes no data."""
    __tracebackhide__ = True
    calls: dict[str, Callable[[], object]] = {"read": lambda: file.read(4096)}
    if "stale-write" not in SPARED:
        calls["write"] = lambda: file.write(b"x")
    with in_time(f"{did}, use its old data_fd"):
        for name, call in calls.items():
            try:
                moved = call()
            except OSError:
                continue
            expect_true(
                not moved,
                did=f"{did}, {name} its old data_fd",
                expected="no data",
                actual=repr(moved)[:60],
            )


def open_again(client: Client) -> None:
    """Close every descriptor and open the device; one that kept its state is reset.

    ``open2.running`` is judged elsewhere. A driver that keeps the state without what belongs to it
    may die of the next SET, and with it the machine.
    """
    client.close()
    client.device.close()
    client.device.reopen()
    if state_of(client) is not State.RUNNING:
        client.device.reset()


def open_files() -> int:
    """Return how many descriptors this process has open."""
    return len(list(_FDS.iterdir()))
