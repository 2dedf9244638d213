# SPDX-License-Identifier: GPL-2.0-only
"""Pre-copy: its estimates, what read() says, and how a save goes on from it."""

import errno
import threading
import time
from collections.abc import Callable
from errno import EFAULT, EINVAL, ENODEV, ENOTTY

import pytest

from conformance.migration.stream import Stream, total
from conformance.migration.v2.client import Client
from conformance.migration.v2.vmm import Vmm
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import (
    errno_words,
    expect_equal,
    expect_errno,
    expect_success,
    expect_true,
    fail,
)
from conformance.plugin.declared import Scratch
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.cases import named
from conformance.suite.support.life import Life
from conformance.suite.support.memory import read_only
from conformance.suite.support.steps import set_apart
from conformance.suite.v2.cases import by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import (
    PATIENCE,
    expect_dead,
    expect_taken,
    expect_whole,
    in_time,
    need_flag,
    need_states,
    state_of,
)
from conformance.uapi import structs
from conformance.vfio import features
from conformance.vfio.data_file import PRECOPY_INFO_SIZE, READABLE, DataFile, PrecopyInfo
from conformance.vfio.memory.libc import NOWHERE

BOTH = by_state((State.PRE_COPY, State.PRE_COPY_P2P))
REINIT = 1


@pytest.fixture
def live(client: Client) -> Client:
    """Enter PRE_COPY; not applicable to a device without."""
    need_flag(client, fsm.PRE_COPY_FLAG, "PRE_COPY")
    client.set(State.PRE_COPY)
    return client


def end_of(file: DataFile) -> int | None:
    """Read once; return the errno that it was, 0 for a read of 0, None for data."""
    try:
        return None if file.read(4096) else 0
    except OSError as error:
        return error.errno


@pytest.mark.rule("precopy.info")
@pytest.mark.parametrize("state", BOTH)
def test_info(reach: Reach, state: State) -> None:
    """Ask how much there is, with the exact and a larger argsz: the answer comes."""
    file = reach(state).session
    for argsz in (PRECOPY_INFO_SIZE, PRECOPY_INFO_SIZE + 8, 4096):
        with expect_success(did=f"PRECOPY_INFO with argsz {argsz} in {state.name}"):
            file.precopy_info(argsz)


@pytest.mark.rule("precopy.info")
def test_info_with_bad_arguments(live: Client) -> None:
    """Ask with an argsz too small, or a bad pointer: EINVAL, EFAULT, and nothing changes."""
    for argsz in (0, 8, PRECOPY_INFO_SIZE - 1):
        with expect_errno(EINVAL, did=f"PRECOPY_INFO with argsz {argsz}"):
            live.session.precopy_info(argsz)
    head = bytes(structs.vfio_precopy_info(argsz=PRECOPY_INFO_SIZE))
    with read_only(head) as address:
        for where in (NOWHERE, address):
            with expect_errno(EFAULT, did=f"PRECOPY_INFO at {where:#x}") as call:
                call.result = live.session.precopy_info_at(where)
    expect_equal(state_of(live), State.PRE_COPY, did="GET after that")


@pytest.mark.rule("precopy.info-elsewhere")
@pytest.mark.parametrize("state", by_state((State.STOP_COPY, State.RESUMING)))
def test_info_elsewhere(reach: Reach, state: State) -> None:
    """Ask in STOP_COPY or RESUMING: EINVAL, or ENOTTY where it can never be."""
    client = reach(state)
    saves = state.saving and client.flags & fsm.PRE_COPY_FLAG
    errnos = (EINVAL,) if saves else (EINVAL, ENOTTY)
    with expect_errno(*errnos, did=f"PRECOPY_INFO in {state.name}"):
        client.session.precopy_info()


@pytest.mark.rule("precopy.info-elsewhere")
def test_info_of_a_dead_session(live: Client) -> None:
    """Ask after the session has ended: EINVAL or ENODEV."""
    file = live.session
    live.set(State.RUNNING)
    with expect_errno(EINVAL, ENODEV, did="PRECOPY_INFO after PRE_COPY was left"):
        file.precopy_info()


@pytest.mark.rule("precopy.initial-nonzero")
def test_initial_is_not_zero(live: Client) -> None:
    """Enter pre-copy, ask: initial_bytes is above 0."""
    info = live.session.precopy_info()
    expect_true(info.initial_bytes, did="PRECOPY_INFO", expected="some bytes", actual="0")


@pytest.mark.rule("precopy.initial-falls")
def test_initial_falls(live: Client) -> None:
    """Read on, ask in between: initial_bytes never rises and reaches 0."""
    before = live.session.precopy_info()
    for _ in range(10000):
        if end_of(live.session) is not None:
            break
        now = live.session.precopy_info()
        grew = now.initial_bytes > before.initial_bytes and not now.flags & REINIT
        expect_true(not grew, did="read, ask", expected="no larger initial", actual=str(now))
        before = now
    expect_equal(
        live.session.precopy_info().initial_bytes, 0, did="read all there is, PRECOPY_INFO"
    )


@pytest.mark.rule("precopy.dirty")
def test_dirty_starts_at_zero(live: Client) -> None:
    """Enter pre-copy, ask before anything was read: dirty_bytes is 0."""
    expect_equal(live.session.precopy_info().dirty_bytes, 0, did="PRECOPY_INFO at the begin")


@pytest.mark.rule("precopy.estimate")
def test_estimate(live: Client) -> None:
    """Ask, read, again and again: while the sum is positive there is data."""
    for _ in range(1000):
        info = live.session.precopy_info()
        if not info.initial_bytes + info.dirty_bytes:
            return
        end = end_of(live.session)
        did = f"read with {info.initial_bytes + info.dirty_bytes} bytes announced"
        expect_true(end is None, did=did, expected="data", actual=errno_words(end) if end else "0")


@pytest.mark.rule("precopy.enomsg")
def test_enomsg(live: Client) -> None:
    """Read all there is, then once more: ENOMSG."""
    live.read_now()
    if any(sums(live.session.precopy_info())):
        not_applicable("this device always has something to say in pre-copy")
    with in_time("read with nothing to say"), expect_errno(errno.ENOMSG, did="read once more"):
        live.session.read(4096)


def sums(info: PrecopyInfo) -> tuple[int, int]:
    """Return the two estimates."""
    return info.initial_bytes, info.dirty_bytes


@pytest.mark.rule("precopy.not-the-end")
@pytest.mark.parametrize("state", BOTH)
def test_nothing_now_is_not_the_end(reach: Reach, client: Client, state: State) -> None:
    """Read until ENOMSG twice, go to STOP_COPY: the same data_fd gives the rest."""
    file = reach(state).session
    head = client.read_now() + client.read_now()
    client.set(State.STOP_COPY)
    expect_true(client.session is file, did="go on", expected="the same data_fd", actual="another")
    rest = client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, [*head, *rest], did="read until ENOMSG, then in STOP_COPY")


@pytest.mark.rule("precopy.poll")
def test_poll(live: Client) -> None:
    """Poll while read would be ENOMSG: not readable; after STOP_COPY it is."""
    live.read_now()
    if end_of(live.session) != errno.ENOMSG:
        not_applicable("this device does not say ENOMSG")
    expect_equal(live.session.poll(READABLE), 0, did="poll while a read is ENOMSG")
    live.set(State.STOP_COPY)
    expect_equal(live.session.poll(READABLE, 1.0), READABLE, did="poll in STOP_COPY")


#: Ways in which a session has data again, or ends.
WAKING: dict[str, Callable[[Client], object]] = {
    "stop-copy": lambda client: client.set(State.STOP_COPY),
    "running": lambda client: client.set(State.RUNNING),
    "reset": lambda client: client.device.reset(),
}


@pytest.mark.rule("precopy.poll")
@pytest.mark.parametrize("wake", named(WAKING))
def test_poll_wakes(live: Client, wake: Callable[[Client], object]) -> None:
    """Wait in poll while a read would be ENOMSG; go on, give up, or reset: it returns at once."""
    live.read_now()
    if end_of(live.session) != errno.ENOMSG or live.session.poll(READABLE):
        not_applicable("this device does not say ENOMSG, or poll says readable")
    file, woken = live.session, threading.Event()

    def wait() -> None:
        if file.poll(READABLE, 2 * PATIENCE):
            woken.set()

    threading.Thread(target=wait, daemon=True).start()
    time.sleep(0.05)  # it waits by now; if it does not, it finds what it would be woken for
    wake(live)
    if not woken.wait(PATIENCE):
        fail(did="wait in poll meanwhile", expected="a poll that returns", actual="it waits on")


@pytest.mark.rule("precopy.skippable")
@pytest.mark.parametrize("reads", [0, 1])
def test_skip(live: Client, reads: int) -> None:
    """Go on to STOP_COPY after no read, or a short one: the stream is whole."""
    head = [live.session.read(3) for _ in range(reads)]
    live.set(State.STOP_COPY)
    rest = live.read_all()
    live.set(State.RUNNING)
    expect_whole(live, [*head, *rest], did=f"{reads} reads in PRE_COPY, then STOP_COPY")


@pytest.mark.rule("precopy.running")
@pytest.mark.parametrize("state", by_state((State.PRE_COPY,)))
def test_it_runs(reach: Reach, client: Client, scratch: list[Scratch], state: State) -> None:
    """Write registers, enter, read, leave pre-copy: they keep their values and take new ones."""
    need_states(client, state)
    written = set_apart(scratch, 0x0A1B2C3D)
    reach(state)
    expect_equal([place.read() for place in scratch], written, did="enter PRE_COPY, read registers")
    again = set_apart(scratch, 0x1F2E3D4C)
    client.read_now()
    client.set(State.RUNNING)
    expect_equal([place.read() for place in scratch], again, did="leave PRE_COPY, read registers")


@pytest.mark.rule("precopy.running")
def test_it_works(life: Life, live: Client) -> None:
    """Enter pre-copy, read: the device works as in RUNNING."""
    life.expect_works("SET PRE_COPY")
    live.read_now()
    life.expect_works("SET PRE_COPY, read")


@pytest.mark.rule("precopy.abandon")
@pytest.mark.parametrize("reads", [0, 1, 100])
@pytest.mark.parametrize("state", BOTH)
def test_abandon(reach: Reach, client: Client, state: State, reads: int) -> None:
    """Give pre-copy up after some reads: the file is dead, the next session is whole."""
    file = reach(state).session
    for _ in range(reads):
        end_of(file)
    expect_taken(client, State.RUNNING if state is State.PRE_COPY else State.RUNNING_P2P)
    expect_dead(file, did=f"give {state.name} up")
    client.set(State.RUNNING)
    expect_whole(client, client.save(), did=f"give {state.name} up, save")


@pytest.mark.rule("precopy.abandon")
@pytest.mark.parametrize("reads", [0, 1, 100])
def test_abandon_as_a_monitor_does(client: Client, vmm: Vmm, reads: int) -> None:
    """Close the file in PRE_COPY, then set RUNNING, as QEMU gives up: the next session is whole."""
    need_flag(client, fsm.PRE_COPY_FLAG, "PRE_COPY")
    with expect_success(did=f"begin pre-copy, read {reads} times, give up as a monitor"):
        vmm.setup()
        for _ in range(reads):
            vmm.iterate()
        vmm.give_up()
    expect_equal(state_of(client), State.RUNNING, did="GET after that")
    expect_whole(client, client.save(), did="save after that")


@pytest.mark.rule("precopy.back-and-forth")
def test_back_and_forth(live: Client) -> None:
    """Alternate between PRE_COPY and PRE_COPY_P2P, read in each: one stream."""
    need_states(live, State.PRE_COPY_P2P)
    file, pieces = live.session, []
    for _ in range(5):
        for state in (State.PRE_COPY_P2P, State.PRE_COPY):
            expect_equal(live.set(state), None, did=f"SET {state.name}, look at data_fd")
            pieces += live.read_now(16)
    live.set(State.STOP_COPY)
    expect_true(live.session is file, did="that", expected="the same data_fd", actual="another")
    rest = live.read_all()
    live.set(State.RUNNING)
    expect_whole(live, [*pieces, *rest], did="alternate, then STOP_COPY")


@pytest.mark.rule("precopy.concatenated")
@pytest.mark.parametrize("through", [(), (State.PRE_COPY_P2P,)], ids=["direct", "p2p"])
def test_one_stream(live: Client, scratch: list[Scratch], through: tuple[State, ...]) -> None:
    """Read in all stages, change registers in between, load it all: the last values are back."""
    need_states(live, *through)
    set_apart(scratch, 0x01020304)
    stream: Stream = live.read_now()
    for state in through:
        live.set(state)
        stream += live.read_now()
    written = set_apart(scratch, 0x51627384)
    live.set(State.STOP_COPY)
    stream += live.read_all()
    live.set(State.RUNNING)
    set_apart(scratch, 0x0F0F0F0F)
    expect_whole(live, stream, did=f"read {total(stream)} bytes in all stages")
    expect_equal([place.read() for place in scratch], written, did="load that, read registers")


@pytest.mark.rule("precopy.concatenated")
@pytest.mark.parametrize("rounds", [1, 3])
def test_all_that_was_read_is_one_stream(live: Client, rounds: int) -> None:
    """Read in all stages, and in those of pre-copy repeatedly: what was read loads as it is."""
    stream: Stream = []
    with_p2p = State.PRE_COPY_P2P in fsm.states(live.flags)
    for _ in range(rounds):
        stream += live.read_now()
        if with_p2p:
            live.set(State.PRE_COPY_P2P)
            stream += live.read_now()
            live.set(State.PRE_COPY)
    live.set(State.STOP_COPY)
    stream += live.read_all()
    live.set(State.RUNNING)
    expect_whole(live, stream, did=f"read {total(stream)} bytes in all stages")


@pytest.mark.rule("precopy.reinit")
def test_reinit_brings_a_new_estimate(client: Client, scratch: list[Scratch]) -> None:
    """Change registers in pre-copy until REINIT comes: initial_bytes above 0, dirty_bytes 0."""
    need_flag(client, fsm.PRE_COPY_FLAG, "PRE_COPY")
    try:
        features.enable_precopy_info_v2(client.device)
    except OSError as error:
        not_applicable(f"no MIG_PRECOPY_INFOv2 here: {errno_words(error.errno)}")
    client.set(State.PRE_COPY)
    for turn in range(20):
        client.read_now()
        set_apart(scratch, turn * 0x01010101)
        info = client.session.precopy_info()
        if info.flags & REINIT:
            expect_true(info.initial_bytes, did="REINIT", expected="some bytes", actual="0")
            expect_equal(info.dirty_bytes, 0, did="PRECOPY_INFO with REINIT, dirty_bytes")
            return
    not_applicable("this device never says REINIT")


@pytest.mark.rule("precopy.flags")
def test_flags_mean_something_when_asked_for(client: Client) -> None:
    """Enable PRECOPY_INFOv2, pass flags in: 0 or REINIT comes back."""
    need_flag(client, fsm.PRE_COPY_FLAG, "PRE_COPY")
    try:
        features.enable_precopy_info_v2(client.device)
    except OSError as error:
        not_applicable(f"no MIG_PRECOPY_INFOv2 here: {errno_words(error.errno)}")
    client.set(State.PRE_COPY)
    for passed in (0, 0xFFFFFFFF, 0x10):
        flags = client.session.precopy_info(flags=passed).flags
        good = flags in (0, REINIT)
        expect_true(good, did=f"pass {passed:#x}", expected="0 or REINIT", actual=hex(flags))
