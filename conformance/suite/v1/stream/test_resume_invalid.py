# SPDX-License-Identifier: GPL-2.0-only
"""Resuming from what no device wrote: it fails, at the latest when the device should run."""

import random
from collections.abc import Callable

import pytest

from conformance.migration.stream import corrupt, total
from conformance.migration.v1.client import Client
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_true
from conformance.plugin.declared import Scratch
from conformance.suite.support.cases import named
from conformance.suite.support.steps import set_apart
from conformance.suite.support.streams.corrupt import (
    CORRUPT,
    CUT,
    EMPTY,
    FOREIGN,
    LONGER,
    REORDERED,
    TWICE,
)
from conformance.suite.support.streams.forged import (
    FORGED,
    FORGED_FIRST,
    LENGTHS,
    Forge,
    forged,
    frames,
    with_length,
)
from conformance.suite.v1.steps import expect_not_resumed, save_and_run

Stream = list[bytes]
Damage = Callable[[Stream, random.Random], Stream]

_UNKNOWN = "the stream is of a format that cannot be forged here"


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(FOREIGN))
def test_foreign(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give data that no device wrote: refused."""
    expect_not_resumed(client, damage(stream, rng), did="give foreign data")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(EMPTY))
def test_empty(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give nothing, or an empty buffer: refused."""
    expect_not_resumed(client, damage(stream, rng), did="give no data")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(CUT))
def test_cut(client: Client, live_stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give a part of a save with pre-copy: refused."""
    stream, part = live_stream, damage(live_stream, rng)
    if total(part) >= total(stream):
        pytest.skip(f"a stream of {total(stream)} bytes is too short to be cut this way")
    expect_not_resumed(client, part, did=f"give {total(part)} of {total(stream)} bytes")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(CORRUPT))
def test_corrupt(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give a stream of which some bits are not as they were: refused."""
    expect_not_resumed(client, damage(stream, rng), did="give a corrupt stream")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("forge", named(FORGED))
def test_forged(client: Client, stream: Stream, forge: Forge) -> None:
    """Give a stream for another device, driver or version, with a right checksum: refused."""
    wrong = forged(stream, forge)
    if wrong is None:
        pytest.skip(_UNKNOWN)
    expect_not_resumed(client, wrong, did="give a forged stream")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("forge", named(FORGED_FIRST))
def test_forged_first_frame(client: Client, live_stream: Stream, forge: Forge) -> None:
    """Give a save with pre-copy of which the first frame is forged, checksum right: refused."""
    if len(frames(live_stream) or ()) < 2:
        pytest.skip("the stream has no frame of pre-copy that could be forged")
    wrong = forged(live_stream, forge, 0)
    if wrong is None:
        pytest.skip("the first frame has nothing of that kind")
    expect_not_resumed(client, wrong, did="give a forged first frame")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("change", named(LENGTHS))
@pytest.mark.parametrize("number", named({"first": 0, "last": -1}))
def test_forged_length(
    client: Client, live_stream: Stream, change: Callable[[int, int], int], number: int
) -> None:
    """Give a live save with a header that claims another length, checksum right: refused."""
    wrong = with_length(live_stream, change, number)
    if wrong is None:
        pytest.skip(f"{_UNKNOWN}, or has no frame of another length")
    expect_not_resumed(client, wrong, did="give a frame with a forged length")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(CORRUPT))
def test_corrupt_first_frame(
    client: Client, live_stream: Stream, rng: random.Random, damage: Damage
) -> None:
    """Give a save with pre-copy of which the first buffer is damaged: refused."""
    head, *rest = live_stream
    expect_not_resumed(client, [*damage([head], rng), *rest], did="give a corrupt first buffer")


@pytest.mark.rule("resume.invalid")
def test_lost_first_buffer(client: Client, live_stream: Stream) -> None:
    """Give a save with pre-copy without its first buffer: refused."""
    if len(live_stream) < 2:
        pytest.skip("the stream has one buffer only")
    expect_not_resumed(client, live_stream[1:], did="give all but the first buffer")


def _refused_at(client: Client, wrong: Stream) -> int | None:
    """Give a stream, and return the number of the buffer that was refused; None if all are taken.

    The device is reset afterwards.
    """
    client.migration.enter(State.RESUMING)
    at: int | None = None
    for number, chunk in enumerate(wrong):
        try:
            client.write_all([chunk])
        except OSError:
            at = number
            break
    client.migration.device.reset()
    return at


def _expect_early(client: Client, wrong: Stream, did: str) -> None:
    at = _refused_at(client, wrong)
    expect_true(
        at is not None,
        did=f"{did}, in {len(wrong)} buffers",
        expected="a refusal at a write of data_size, the last at the latest",
        actual="all are taken",
    )


@pytest.mark.rule("resume.early")
@pytest.mark.parametrize("damage", named(FOREIGN))
def test_foreign_early(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give data that no device wrote: refused when it is given, not only at 4->1."""
    _expect_early(client, damage(stream, rng), "give foreign data")


@pytest.mark.rule("resume.early")
@pytest.mark.parametrize("damage", named(CORRUPT))
def test_corrupt_early(
    client: Client, live_stream: Stream, rng: random.Random, damage: Damage
) -> None:
    """Give a whole stream with some bits wrong: refused when it is given, not only at 4->1."""
    _expect_early(client, damage(live_stream, rng), "give a corrupt stream")


@pytest.mark.rule("resume.early")
@pytest.mark.parametrize("forge", named(FORGED))
def test_forged_early(client: Client, stream: Stream, forge: Forge) -> None:
    """Give a stream for another device, checksum right: refused when it is given."""
    wrong = forged(stream, forge)
    if wrong is None:
        pytest.skip(_UNKNOWN)
    _expect_early(client, wrong, "give a forged stream")


@pytest.mark.rule("resume.early")
def test_good_is_not_refused_early(client: Client, live_stream: Stream) -> None:
    """Give a good stream: no buffer is refused."""
    at = _refused_at(client, live_stream)
    expect_equal(at, None, did="give a good stream, look which buffer is refused")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(LONGER))
def test_longer(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give a whole stream, which had nothing in pre-copy, and some more: refused."""
    expect_not_resumed(client, damage(stream, rng), did="give more than the whole stream")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(REORDERED))
def test_reordered(client: Client, live_stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give the buffers of a save with pre-copy in the wrong order, or too many: refused."""
    wrong = damage(live_stream, rng)
    if wrong == live_stream:
        pytest.skip(f"a stream of {len(wrong)} buffers cannot be reordered")
    expect_not_resumed(client, wrong, did="give the buffers in the wrong order")


@pytest.mark.rule("resume.invalid")
@pytest.mark.parametrize("damage", named(TWICE))
def test_twice(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Give one of the buffers of a state twice: refused."""
    if len(stream) < 2:
        pytest.skip("the state is in one buffer, and a whole state may come more than once")
    expect_not_resumed(client, damage(stream, rng), did="give a buffer twice")


@pytest.mark.rule("resume.invalid")
def test_nothing_of_it_is_taken(client: Client, scratch: list[Scratch]) -> None:
    """Give a stream with one bit wrong, reset: no register has a value of that stream."""
    set_apart(scratch, 0x6B6C6D6E)
    stream = save_and_run(client)
    set_apart(scratch, 0x12131415)
    client.migration.device.reset()
    clean = [place.read() for place in scratch]
    set_apart(scratch, 0x12131415)
    client.migration.enter(State.RESUMING)
    with expect_errno(did="resume from a stream with one bit wrong"):
        client.write_all(corrupt(stream, -1, 1))
        client.migration.set_state(State.RUNNING)
    client.migration.device.reset()
    expect_equal([place.read() for place in scratch], clean, did="reset, read the registers")
