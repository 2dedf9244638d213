# SPDX-License-Identifier: GPL-2.0-only
"""A signal to a user who waits for the data_fd, which another one keeps busy."""

import ctypes
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from conformance.migration.stream import Stream, joined
from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_true
from conformance.suite.support.life import soon
from conformance.suite.v2.cases import by_state
from conformance.suite.v2.steps import expect_taken, expect_whole
from conformance.vfio.children.children import Child
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.memory.userfault import Userfault

PAGE = mmap.PAGESIZE
#: Bytes of the call that waits.
SOME = 100
#: Seconds that the memory of the first call is missing, and after which the second is signalled.
MISSING, SIGNAL_AFTER = 0.6, 0.2


@contextmanager
def first_at_work(call: Callable[[], int], late: Userfault) -> Iterator[list[int]]:
    """Make a call whose memory is late in another thread; gives what it returned at the end."""
    moved: list[int] = []

    def move() -> None:
        with suppress(OSError):
            moved.append(call())

    thread = threading.Thread(target=move, daemon=True)
    thread.start()
    begun = soon(lambda: late.faults > 0)
    did = "move data from or to memory that is missing"
    expect_true(begun, did=did, expected="the memory is used", actual="it is not")
    yield moved
    thread.join()


def interrupted(call: Callable[[], int]) -> int:
    """Make a call that is signalled while it waits; return how many bytes it moved."""
    main, before = threading.get_ident(), signal.signal(signal.SIGUSR1, lambda *_: None)
    timer = threading.Timer(SIGNAL_AFTER, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    moved = 0
    try:
        with suppress(InterruptedError):
            moved = call()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    return moved


@pytest.mark.rule("data.interrupted")
def test_read(client: Client) -> None:
    """Signal a reader that waits for another one: EINTR or true bytes; the stream is whole."""
    client.set(State.STOP_COPY)
    with anonymous(2 * PAGE) as memory, Userfault(memory.address, bytes(PAGE), MISSING) as late:
        first = partial(client.session.read_to, memory.address, SOME)
        second = memory.address + PAGE
        with first_at_work(first, late) as moved:
            more = interrupted(lambda: client.session.read_to(second, SOME))
        expect_true(more <= SOME, did="signal", expected=f"at most {SOME}", actual=f"{more} bytes")
        got = ctypes.string_at(memory.address, sum(moved)) + ctypes.string_at(second, more)
    stream = [got, *client.read_all()]
    client.set(State.RUNNING)
    expect_whole(client, stream, did="signal a reader that waits for another one, read the rest")


@pytest.mark.rule("data.interrupted")
def test_write(client: Client, stream: Stream) -> None:
    """Signal a writer that waits for another one: EINTR or bytes are taken; the load is whole."""
    data = joined(stream)
    if len(data) < 2 * SOME:
        pytest.skip(f"the stream has only {len(data)} bytes")
    client.set(State.RESUMING)
    with anonymous(2 * PAGE) as memory:
        memory.write(PAGE, data[SOME : 2 * SOME])
        head = data[:SOME].ljust(PAGE, b"\0")
        with Userfault(memory.address, head, MISSING) as late:
            first = partial(client.session.write_from, memory.address, SOME)
            with first_at_work(first, late) as moved:
                more = interrupted(lambda: client.session.write_from(memory.address + PAGE, SOME))
    client.write_all([data[sum(moved) + more :]])
    expect_taken(
        client, State.RUNNING, did="signal a writer that waits, write the rest, SET RUNNING"
    )


def _attempt(other: Child, call: Callable[..., object], *args: object) -> None:
    """Have another process make a call that it may not live to return from."""
    with suppress(Exception):
        other.call(call, *args)


def kill_in_a_call(other: Child, call: Callable[..., object], *args: object) -> None:
    """Have another process make a call that waits, and kill it."""
    waiter = threading.Thread(target=_attempt, args=(other, call, *args), daemon=True)
    waiter.start()
    time.sleep(SIGNAL_AFTER)
    other.kill()
    waiter.join()


@pytest.mark.rule("open2.killed")
@pytest.mark.parametrize("state", by_state((State.STOP_COPY, State.RESUMING)))
def test_killed(client: Client, stream: Stream, child: Callable[[], Child], state: State) -> None:
    """Kill a process that waits for another one's transfer: it dies, the device is whole."""
    file, other = client.set(state), child()
    assert file
    head, saving = joined(stream)[:1].ljust(PAGE, b"\0"), state is State.STOP_COPY
    move = file.read_to if saving else file.write_from
    wait = (os.read, file.fd, SOME) if saving else (os.write, file.fd, bytes(SOME))
    with (
        anonymous(PAGE) as memory,
        Userfault(memory.address, head, MISSING) as late,
        first_at_work(lambda: move(memory.address, 1), late),
    ):
        kill_in_a_call(other, *wait)
    client.device.reset()
    expect_whole(client, client.save(), did=f"kill a process that waits in {state.name}, save")
