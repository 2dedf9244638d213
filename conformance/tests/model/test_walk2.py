# SPDX-License-Identifier: GPL-2.0-only
"""The oracle of random walks in version 2."""

from errno import EBUSY, EINVAL

import pytest

from conformance.model.layout import PAGE, Layout
from conformance.model.ledger import Ledger
from conformance.model.v2.fsm import FLAGS, State
from conformance.model.v2.walk import Outcome, Walk

LAYOUT = Layout(4 * PAGE, ((0, 4 * PAGE),), ((0, 2 * PAGE),))


@pytest.fixture
def oracle() -> Walk:
    return Walk(Ledger({0: LAYOUT}), FLAGS)


def save(oracle: Walk, data: bytes = b"state") -> None:
    oracle.moved(State.STOP_COPY)
    for part in (data, b""):
        oracle.took(part)
    oracle.moved(State.RUNNING)


def test_what_is_no_state_is_refused(oracle: Walk) -> None:
    assert oracle.expect(8).errno == EINVAL
    assert oracle.allowed_after(8, taken=False) == (State.RUNNING,)


def test_entering_with_a_conflict_is_refused_before_the_first_step(oracle: Walk) -> None:
    oracle.ledger.mmap("it", 0x1000, 0, 3 * PAGE, PAGE)
    expected = oracle.expect(State.STOP_COPY)
    assert (expected.outcome, expected.errno) == (Outcome.REFUSED, EBUSY)
    assert oracle.allowed_after(State.STOP_COPY, taken=False) == (State.RUNNING,)
    assert oracle.expect(State.RESUMING).outcome is Outcome.TAKEN
    assert oracle.expect(8).errno == EINVAL


def test_a_load_is_left_with_a_whole_stream_only(oracle: Walk) -> None:
    save(oracle)
    oracle.moved(State.RESUMING)
    assert oracle.expect(State.STOP).outcome is Outcome.REFUSED
    oracle.gave(len(oracle.to_give(3)))
    assert oracle.expect(State.STOP).outcome is Outcome.REFUSED
    oracle.gave(len(oracle.to_give(99)))
    assert oracle.expect(State.STOP).outcome is Outcome.TAKEN
    oracle.gave_wrong(taken=True)
    assert oracle.expect(State.STOP).outcome is Outcome.REFUSED
    assert oracle.to_give(1) == b""


def test_a_stream_may_load_although_bytes_behind_it_were_refused(oracle: Walk) -> None:
    save(oracle)
    oracle.moved(State.RESUMING)
    oracle.gave(len(oracle.to_give(99)))
    oracle.gave_wrong(taken=False)
    expected = oracle.expect(State.PRE_COPY)
    assert (expected.outcome, expected.rule) == (Outcome.EITHER, "resume2.bound")
    assert expected.gives_fd
    oracle.gave_wrong(taken=True)
    assert oracle.expect(State.STOP).outcome is Outcome.REFUSED


def test_bytes_refused_within_a_stream_spoil_the_load(oracle: Walk) -> None:
    save(oracle)
    oracle.moved(State.RESUMING)
    oracle.gave(len(oracle.to_give(3)))
    oracle.gave_wrong(taken=False)
    assert oracle.expect(State.STOP).outcome is Outcome.REFUSED


def test_registers_come_back_with_a_stream(oracle: Walk) -> None:
    oracle.registers = {0: 7}
    save(oracle)
    oracle.registers = {0: 9}
    oracle.moved(State.RESUMING)
    oracle.gave(len(oracle.to_give(99)))
    oracle.moved(State.RUNNING)
    assert oracle.registers == {0: 7}


def test_a_stream_that_was_not_read_to_its_end_is_none(oracle: Walk) -> None:
    oracle.moved(State.STOP_COPY)
    oracle.took(b"half")
    oracle.moved(State.RUNNING)
    assert oracle.saved is None


def test_pre_copy_is_the_head_of_the_stream(oracle: Walk) -> None:
    oracle.moved(State.PRE_COPY)
    oracle.took(b"head")
    oracle.moved(State.STOP_COPY)
    for part in (b"rest", b""):
        oracle.took(part)
    assert oracle.saved
    assert oracle.saved[0] == b"headrest"


def test_the_error_state_is_left_by_reset(oracle: Walk) -> None:
    oracle.moved(State.ERROR)
    assert oracle.expect(State.RUNNING).outcome is Outcome.REFUSED
    oracle.reset()
    assert oracle.state is State.RUNNING
