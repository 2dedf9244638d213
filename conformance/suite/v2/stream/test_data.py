# SPDX-License-Identifier: GPL-2.0-only
"""The data_fd: when it comes, what can be done with it, how a session ends."""

import errno
import mmap
import os
import threading
from collections.abc import Callable
from errno import EBADF, EFAULT, ENOTTY, ESPIPE
from typing import Any

import pytest

from conformance.migration.stream import Stream, difference, joined
from conformance.migration.v2.client import Client
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import (
    errno_words,
    expect_equal,
    expect_errno,
    expect_success,
    expect_true,
)
from conformance.plugin.devices import Observe
from conformance.suite.support.cases import named
from conformance.suite.v2.cases import by_name, by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import (
    SPARED,
    expect_dead,
    expect_taken,
    expect_whole,
    in_time,
    need_flag,
    need_states,
    state_of,
)
from conformance.vfio.children.children import Child
from conformance.vfio.data_file import READABLE, DataFile
from conformance.vfio.memory.libc import NOWHERE

SESSIONS = (State.STOP_COPY, State.RESUMING, State.PRE_COPY, State.PRE_COPY_P2P)
#: Transitions from one session to another.
ACROSS = [(State.RESUMING, State.STOP_COPY), (State.STOP_COPY, State.RESUMING)]
SIZES = {"1": 1, "7": 7, "4095": 4095, "1-MiB": 1 << 20}
#: No save that a test reads byte by byte is longer.
LONG = 1 << 16


@pytest.mark.rule("data.new")
@pytest.mark.parametrize("state", by_state(SESSIONS))
def test_a_session_has_a_descriptor(client: Client, state: State) -> None:
    """Begin a session from RUNNING: exactly one data_fd, a new one each time."""
    need_states(client, state)
    for _ in range(3):
        file = client.set(state)
        expect_true(file, did=f"SET {state.name}", expected="a data_fd", actual="-1")
        expect_equal(client.set(state), None, did=f"SET {state.name} again, look at data_fd")
        client.device.reset()


@pytest.mark.rule("data.one-session")
def test_one_session_over_pre_copy(client: Client) -> None:
    """Go from PRE_COPY to STOP_COPY: no new data_fd, and the old one gives the rest."""
    need_states(client, State.PRE_COPY)
    client.set(State.PRE_COPY)
    head = client.read_now()
    again = client.set(State.STOP_COPY)
    expect_equal(again, None, did="SET STOP_COPY in PRE_COPY, look at data_fd")
    rest = client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, [*head, *rest], did="read in PRE_COPY, then in STOP_COPY")


@pytest.mark.rule("data.one-session")
@pytest.mark.parametrize(
    ("old", "new"), by_name([(State.RESUMING, State.STOP_COPY), (State.STOP_COPY, State.RESUMING)])
)
def test_two_sessions(reach: Reach, client: Client, old: State, new: State) -> None:
    """Go between STOP_COPY and RESUMING in one SET: another data_fd, the first is dead."""
    first = reach(old).session
    second = client.set(new)
    expect_true(second, did=f"SET {new.name} in {old.name}", expected="a data_fd", actual="-1")
    expect_dead(first, did=f"SET {new.name} in {old.name}")


@pytest.mark.rule("data.direction")
@pytest.mark.parametrize("state", by_state(SESSIONS))
def test_direction(reach: Reach, state: State) -> None:
    """Write where is saved, read where is resumed: EBADF."""
    file = reach(state).session
    did = f"the wrong way on the data_fd of {state.name}"
    with in_time(did), expect_errno(EBADF, did=did):
        if state.saving:
            file.write(b"x")
        else:
            file.read(1)


@pytest.mark.rule("data.cloexec")
@pytest.mark.parametrize("state", by_state(SESSIONS))
def test_close_on_exec(reach: Reach, state: State) -> None:
    """Look at the flags of the descriptor: FD_CLOEXEC is set."""
    closes = reach(state).session.closes_on_exec
    expect_true(closes, did="fcntl(F_GETFD)", expected="FD_CLOEXEC", actual="not set")


STREAM_CALLS: dict[str, tuple[Callable[[DataFile], Any], tuple[int, ...]]] = {
    "lseek": (lambda file: file.seek(0), (ESPIPE,)),
    "lseek-end": (lambda file: file.seek(0, os.SEEK_END), (ESPIPE,)),
    "pread": (lambda file: file.pread(8, 0), (ESPIPE, EBADF)),
    "pwrite": (lambda file: file.pwrite(b"x", 0), (ESPIPE, EBADF)),
    "mmap": (lambda file: file.mmap(mmap.PAGESIZE), ()),
    "ioctl": (lambda file: file.ioctl(0x3B00 + 99), (ENOTTY,)),
}


@pytest.mark.rule("data.stream")
@pytest.mark.parametrize(("call", "errnos"), named(STREAM_CALLS))
@pytest.mark.parametrize("state", by_state((State.STOP_COPY, State.RESUMING)))
def test_it_is_a_stream(
    reach: Reach, state: State, call: Callable[[DataFile], Any], errnos: tuple[int, ...]
) -> None:
    """Seek, read at an offset, map, call an unknown ioctl: refused."""
    file = reach(state).session
    with expect_errno(*errnos, did=f"do that to the data_fd of {state.name}") as done:
        done.result = call(file)


@pytest.mark.rule("data.partial")
@pytest.mark.parametrize("size", named(SIZES))
def test_any_size_of_read(client: Client, size: int) -> None:
    """Read the head of a stream in pieces of a size, the rest in bulk: the stream is whole."""
    client.set(State.STOP_COPY)
    pieces: Stream = []
    taken = 0
    while taken < LONG // 16 and (piece := client.session.read(size)):
        pieces.append(piece)
        taken += len(piece)
        expect_equal(client.session.read(0), b"", did="read 0 bytes in the middle")
    rest = client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, [*pieces, *rest], did=f"read in pieces of {size} bytes")


@pytest.mark.rule("data.partial")
def test_pieces_are_the_same_bytes(client: Client, stream: Stream) -> None:
    """Save a stopped device in bulk and again in pieces of 13 bytes: as long, and loadable."""
    client.set(State.STOP)
    client.set(State.STOP_COPY)
    whole = client.read_all()
    client.set(State.STOP)
    client.set(State.STOP_COPY)
    pieces = client.read_all(13 if len(joined(stream)) < LONG else 4099)
    expect_equal(len(joined(pieces)), len(joined(whole)), did="read in pieces: how long is it?")
    client.set(State.RUNNING)
    expect_whole(client, pieces, did="read in pieces of 13 bytes")


@pytest.mark.rule("data.eof")
def test_the_end_stays(client: Client) -> None:
    """Read at the end of the stream again and again: 0 each time, and poll says readable."""
    client.set(State.STOP_COPY)
    client.read_all()
    with in_time("read at the end"):
        again = [client.session.read(4096) for _ in range(10)]
    expect_equal(again, [b""] * 10, did="read ten times at the end")
    expect_equal(client.session.poll(READABLE, 0.1), READABLE, did="poll at the end")


@pytest.mark.rule("data.end-is-whole")
def test_at_the_end_all_was_given(client: Client) -> None:
    """Save to the end with small reads, load it: the device runs from it."""
    client.set(State.STOP_COPY)
    stream = client.read_all(1 << 12)
    client.set(State.RUNNING)
    expect_whole(client, stream, did="read to the end")


@pytest.mark.rule("data.fault")
def test_bad_buffers_while_saving(client: Client) -> None:
    """Read into memory that is not there: EFAULT, and the stream is whole all the same."""
    client.set(State.STOP_COPY)
    for _ in range(3):
        with expect_errno(EFAULT, did="read 64 bytes to an unmapped address"):
            client.session.read_to(NOWHERE, 64)
    stream = client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, stream, did="read to bad addresses, then the whole stream")


@pytest.mark.rule("data.fault")
def test_bad_buffers_while_resuming(client: Client, stream: Stream) -> None:
    """Write from memory that is not there: EFAULT, and the load goes on or fails for good."""
    client.set(State.RESUMING)
    client.write_all([joined(stream)[:8]])
    with expect_errno(EFAULT, did="write 64 bytes from an unmapped address"):
        client.session.write_from(NOWHERE, 64)
    try:
        client.write_all([joined(stream)[8:]])
    except OSError:
        with expect_errno(did="leave RESUMING after a write that failed for good"):
            client.set(State.RUNNING)
        return
    expect_taken(client, State.RUNNING, did="go on after EFAULT, then SET RUNNING")


@pytest.mark.rule("data.fault")
def test_bad_buffer_counts_for_nothing(client: Client, stream: Stream) -> None:
    """Go on behind the bytes of a bad buffer: they are missing, so the load is refused."""
    data = joined(stream)
    if len(data) <= 72:
        pytest.skip(f"a stream of {len(data)} bytes has nothing behind the first 72")
    client.set(State.RESUMING)
    client.write_all([data[:8]])
    with expect_errno(EFAULT, did="write 64 bytes from an unmapped address"):
        client.session.write_from(NOWHERE, 64)
    with expect_errno(did="go on behind the 64 bytes that were not read, SET RUNNING"):
        client.write_all([data[72:]])
        client.set(State.RUNNING)
    client.device.reset()


@pytest.mark.rule("data.stale")
@pytest.mark.parametrize("new", by_state((State.STOP, State.RUNNING)))
@pytest.mark.parametrize("state", by_state(SESSIONS))
def test_stale(reach: Reach, client: Client, state: State, new: State) -> None:
    """Leave a session, begin another: the data_fd of the first gives and takes nothing."""
    file = reach(state).session
    client.set(new)
    expect_dead(file, did=f"{state.name} to {new.name}")
    client.set(State.STOP_COPY)
    expect_dead(file, did=f"{state.name} to {new.name}, then to STOP_COPY")
    stream = client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, stream, did="save with a stale data_fd")


@pytest.mark.rule("data.stale-wakes")
@pytest.mark.parametrize("state", by_state(SESSIONS))
def test_leaving_wakes(reach: Reach, client: Client, state: State) -> None:
    """Read or write on and on in another thread, leave the state: the thread comes back."""
    if not state.saving and "stale-write" in SPARED:
        pytest.skip("the kernel is said to die of a write to a session that has ended")
    file = reach(state).session
    ended = threading.Event()
    threading.Thread(target=use, args=(file, state.saving, ended), daemon=True).start()
    client.set(State.RUNNING)
    woken = ended.wait(10)
    expect_true(woken, did=f"leave {state.name}", expected="a thread that ends", actual="it hangs")


def use(file: DataFile, saving: bool, ended: threading.Event) -> None:
    """Read, or write nothing, on and on until that is refused or at its end."""
    for _ in range(10000):
        try:
            if not (file.read(4096) if saving else file.write(b"")):
                break
        except OSError as error:
            if error.errno != errno.ENOMSG:
                break
    ended.set()


@pytest.mark.rule("data.leave-early")
@pytest.mark.parametrize("share", [0, 1, 50, 99])
@pytest.mark.parametrize("state", by_state((State.STOP_COPY, State.PRE_COPY)))
def test_leave_early(client: Client, stream: Stream, state: State, share: int) -> None:
    """Leave a session after none, a byte, half, nearly all of it: the next one is whole."""
    need_states(client, state)
    client.set(state)
    wanted = share * len(joined(stream)) // 100 or min(share, 1)
    if wanted:
        client.session.read(wanted)
    expect_taken(client, State.RUNNING, did=f"leave {state.name} after {wanted} bytes")
    expect_whole(client, client.save(), did="save after that")


@pytest.mark.rule("data.close-early")
@pytest.mark.parametrize("state", by_state(SESSIONS))
def test_close_early(reach: Reach, client: Client, state: State) -> None:
    """Close the data_fd in the middle: the state stays, its number is free, it can be left."""
    file = reach(state).session
    number = file.fd
    file.close()
    expect_equal(state_of(client), state, did="close the data_fd, then GET")
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    wanted = f"number {number} or lower"
    expect_true(free <= number, did="open another file", expected=wanted, actual=str(free))
    expect_taken(client, State.RUNNING, did=f"close the data_fd of {state.name}, SET RUNNING")
    expect_whole(client, client.save(), did="save after that")


@pytest.mark.rule("data.shared")
def test_duplicates_share_a_position(client: Client) -> None:
    """Read by turns from the descriptor and its duplicate: one stream; both end together."""
    client.set(State.STOP_COPY)
    with client.session.duplicate() as other:
        pieces = [file.read(5) for _ in range(4) for file in (client.session, other)]
        rest = client.read_all()
        client.set(State.RUNNING)
        expect_dead(other, did="leave STOP_COPY")
    expect_whole(client, [*pieces, *rest], did="read from two descriptors by turns")


@pytest.mark.rule("data.shared")
def test_a_duplicate_is_closed(client: Client) -> None:
    """Close a duplicate in the middle of the stream: the descriptor goes on behind it."""
    client.set(State.STOP_COPY)
    with client.session.duplicate() as other:
        head = other.read(5)
    with expect_success(did="read 5 bytes from a duplicate, close it, read on"):
        rest = client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, [head, *rest], did="read from a duplicate and close it")


@pytest.mark.rule("data.shared")
def test_a_child_shares_the_position(client: Client, child: Callable[[], Child]) -> None:
    """Read the head in a forked child, the rest here: one stream."""
    client.set(State.STOP_COPY)
    other = child()
    head = other.call(os.read, client.session.fd, 16)
    assert isinstance(head, bytes)
    rest = client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, [head, *rest], did="read the head in a child")


@pytest.mark.rule("data.exclusive")
def test_one_session_at_a_time(client: Client) -> None:
    """Ask the data_fd of an earlier pre-copy while a new one runs: an error."""
    need_flag(client, fsm.PRE_COPY_FLAG, "PRE_COPY")
    old = client.set(State.PRE_COPY)
    assert old
    client.go(State.RUNNING, State.PRE_COPY)
    with expect_errno(did="PRECOPY_INFO on the data_fd of the session before"):
        old.precopy_info()
    client.session.precopy_info()


@pytest.mark.rule("data.nonblock")
@pytest.mark.parametrize("state", by_state((State.STOP_COPY, State.PRE_COPY)))
def test_nonblocking_read(reach: Reach, observe: Observe, state: State) -> None:
    """Read with O_NONBLOCK: data, EAGAIN, or the end."""
    file = reach(state).session
    file.set_blocking(False)
    try:
        observe("data.nonblock", "data" if file.read(64) else "end")
    except OSError as error:
        outcomes = {errno.EAGAIN: "eagain", errno.ENOMSG: "end"}
        observe("data.nonblock", outcomes.get(error.errno or 0, errno_words(error.errno)))


@pytest.mark.rule("data.vectored")
def test_vectored(client: Client, stream: Stream) -> None:
    """Save by readv and load by writev, where they are not refused: the same bytes move."""
    client.set(State.STOP_COPY)
    pieces = []
    try:
        while piece := client.session.readv([1, 4096, 7]):
            pieces.append(piece)
    except OSError:
        return  # refused, which is as good
    client.set(State.RESUMING)
    data = joined(pieces)
    with expect_success(did="writev what readv gave"):
        while data:
            data = data[client.session.writev([data[:1], data[1:5000]]) :]
    expect_taken(client, State.RUNNING, did="save by readv, load by writev")
    assert stream


@pytest.mark.rule("data.opaque")
def test_equal_streams(client: Client) -> None:
    """Save a stopped device twice: equal streams."""
    client.set(State.STOP_COPY)
    first = client.read_all()
    client.go(State.STOP, State.STOP_COPY)
    second = client.read_all()
    expect_equal(difference(first, second), "", did="save a stopped device twice, compare")
