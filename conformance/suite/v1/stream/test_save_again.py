# SPDX-License-Identifier: GPL-2.0-only
"""Saves that are given up, and saves that are done again."""

from collections.abc import Callable

import pytest

from conformance.migration.stream import difference
from conformance.migration.v1.client import Client
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Scratch
from conformance.plugin.fixtures import Side
from conformance.suite.support.cases import named
from conformance.suite.support.steps import set_apart
from conformance.suite.v1.steps import attempt, expect_whole, save_and_run
from conformance.suite.v1.volatile import volatile_words, without

Stream = list[bytes]


def _enter(client: Client, state: State) -> None:
    client.migration.enter(state)


def _begin(client: Client, state: State) -> None:
    client.migration.enter(state)
    if client.migration.pending_bytes:
        client.read_window()


def _take_all(client: Client, state: State) -> None:
    client.migration.enter(state)
    client.read_all()


HALF_DONE = {"entered": _enter, "in-an-iteration": _begin, "all-taken": _take_all}


@pytest.mark.rule("save.fresh")
@pytest.mark.parametrize("begin", named(HALF_DONE))
@pytest.mark.parametrize("state", [2, 3])
def test_fresh_after_giving_up(
    client: Client, state: int, begin: Callable[[Client, State], None]
) -> None:
    """Give a save up, save again: the stream is whole."""
    begin(client, State(state))
    client.migration.enter(State.RUNNING)
    again = save_and_run(client)
    expect_whole(client, again, did=f"give a save up in state {state}, save again")


@pytest.mark.rule("save.fresh")
@pytest.mark.parametrize("state", [2, 3])
def test_fresh_has_the_device_as_it_is(client: Client, scratch: list[Scratch], state: int) -> None:
    """Give a save up, change registers, save, resume: they are as when saved the second time."""
    set_apart(scratch, 0x11121314)
    _begin(client, State(state))
    client.migration.enter(State.RUNNING)
    second = set_apart(scratch, 0x2E2E2E2E)
    again = save_and_run(client)
    set_apart(scratch, 0xC1D2E3F4)
    client.resume(again)
    expect_equal([place.read() for place in scratch], second, did="resume, read the registers")


@pytest.mark.rule("save.fresh")
def test_precopy_does_not_freeze_registers(source: Side, scratch: list[Scratch]) -> None:
    """Change registers in pre-copy after all was taken: stop-and-copy has the new values."""
    client = source.client()
    source.migration.enter(State.PRE_COPY)
    stream = client.read_all()
    changed = set_apart(scratch, 0x3C3C3C3C)
    source.migration.enter(State.STOP_AND_COPY)
    stream += client.read_all()
    source.migration.enter(State.RUNNING)
    set_apart(scratch, 0xC1D2E3F4)
    client.resume(stream)
    expect_equal([place.read() for place in scratch], changed, did="resume, read the registers")


@pytest.mark.rule("save.repeatable")
def test_repeatable(client: Client, stream: Stream) -> None:
    """Save a device twice, stopped in between where it can be, idle if not: equal streams.

    If it has to run in between, what moves by itself may differ.
    """
    migration, moving = client.migration, set()
    migration.enter(State.STOP_AND_COPY)
    first = client.read_all()
    migration.enter(State.STOPPED)
    if attempt(migration, State.STOP_AND_COPY) is not None:
        migration.enter(State.RUNNING)
        moving = volatile_words(client)
        migration.enter(State.STOP_AND_COPY)
    second = client.read_all()
    differ = difference(without(first, moving), without(second, moving))
    expect_equal(differ, "", did="save a device twice, compare the streams")
    expect_equal(len(second), len(stream), did="count the buffers")
