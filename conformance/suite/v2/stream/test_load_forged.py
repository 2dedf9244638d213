# SPDX-License-Identifier: GPL-2.0-only
"""RESUMING from streams whose checksums are right and that are meant for no such device.

A test tries all forgeries of a kind: what it needs, a save or two, costs more than a refused load.
"""

import random

import pytest

from conformance.migration.stream import Stream, joined
from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_errno
from conformance.suite.support.streams.corrupt import CORRUPT
from conformance.suite.support.streams.forged import (
    FORGED,
    FORGED_FIRST,
    LENGTHS,
    Forge,
    forged,
    frames,
    with_length,
)
from conformance.suite.v2.steps import FAILED, expect_not_loaded, expect_whole

#: States after a refusal: what is in doubt may be found out late, but must not run.
LEFT = (*FAILED, State.STOP)


@pytest.fixture
def known(stream: Stream) -> Stream:
    """Return a stream of a device in STOP_COPY; skips if it cannot be forged."""
    if not frames(stream):
        pytest.skip("the stream is of a format that cannot be forged here")
    return stream


@pytest.fixture
def live(client: Client, known: Stream) -> Stream:
    """Return a stream with what comes in pre-copy; skips if nothing of it came there."""
    stream = client.save_live()
    client.set(State.RUNNING)
    if len(frames(stream) or ()) == len(frames(known) or ()):
        pytest.skip("the stream has no frame of pre-copy that could be forged")
    return stream


def expect_forgeries_refused(
    client: Client, stream: Stream, forges: dict[str, Forge], number: int
) -> None:
    """Demand that none of the forgeries of a frame is loaded, where it has what is forged."""
    __tracebackhide__ = True
    for name, forge in forges.items():
        wrong = forged(stream, forge, number)
        if wrong is not None and joined(wrong) != joined(stream):
            expect_not_loaded(client, wrong, did=f"load a forged frame, {name}", left=LEFT)
    expect_whole(client, stream, did="be refused, reset")


@pytest.mark.rule("resume2.invalid")
def test_forged(client: Client, known: Stream) -> None:
    """Load streams for another device, driver or version, with right checksums: refused."""
    expect_forgeries_refused(client, known, FORGED, -1)


@pytest.mark.rule("resume2.invalid")
def test_forged_after_pre_copy(client: Client, live: Stream) -> None:
    """Load saves with pre-copy of which the first or the last frame is forged: refused."""
    expect_forgeries_refused(client, live, FORGED_FIRST, 0)
    expect_forgeries_refused(client, live, FORGED, -1)


@pytest.mark.rule("resume2.invalid")
@pytest.mark.parametrize("number", [0, -1], ids=["first", "last"])
def test_forged_length(client: Client, live: Stream, number: int) -> None:
    """Load live saves with a header that claims another length, checksum right: refused."""
    for name, change in LENGTHS.items():
        wrong = with_length(live, change, number)
        if wrong is not None:
            expect_not_loaded(client, wrong, did=f"load a frame of length {name}", left=LEFT)
    expect_whole(client, live, did="be refused, reset")


@pytest.mark.rule("resume2.invalid")
def test_corrupt_first_frame(client: Client, live: Stream, rng: random.Random) -> None:
    """Load saves with pre-copy of which the first piece is damaged: refused."""
    head, *rest = live
    for name, damage in CORRUPT.items():
        wrong = [*damage([head], rng), *rest]
        expect_not_loaded(client, wrong, did=f"load a first piece damaged at {name}", left=LEFT)


@pytest.mark.rule("resume2.early")
def test_foreign_pre_copy(client: Client, live: Stream, rng: random.Random) -> None:
    """Write the pre-copy data of another device, or damaged, to RESUMING: a write is refused."""
    wrong = {name: forged(live, forge, 0) for name, forge in FORGED_FIRST.items()}
    wrong |= {name: damage(live[:1], rng) for name, damage in CORRUPT.items()}
    for name, stream in wrong.items():
        if stream:
            client.set(State.RESUMING)
            with expect_errno(did=f"write the first piece of a stream, wrong at {name}"):
                client.write_all(stream[:1])
            client.device.reset()
    expect_whole(client, live, did="be refused, reset, load the whole")


@pytest.mark.rule("resume2.incomplete")
def test_part_of_a_live_save(client: Client, live: Stream) -> None:
    """Load what came in pre-copy alone, or all but that: refused; all of it: taken."""
    expect_not_loaded(client, live[:1], did="load the first piece alone", left=LEFT)
    expect_not_loaded(client, live[1:], did="load all but the first piece", left=LEFT)
    expect_whole(client, live, did="be refused, load all of it")


@pytest.mark.rule("resume2.bound")
def test_frame_too_many(client: Client, known: Stream, live: Stream) -> None:
    """Load a frame of pre-copy behind a stream, two before it, or two streams: refused."""
    head = live[:1]
    many = ([*known, *head], [*head, *live], [*head, *head, *known], [*known, *known])
    for wrong in many:
        expect_not_loaded(client, wrong, did="load a frame too many", left=LEFT)
