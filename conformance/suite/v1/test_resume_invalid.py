# SPDX-License-Identifier: GPL-2.0-only
"""Resuming from what no device wrote: it fails, at the latest when the device should run."""

import random
from collections.abc import Callable

import pytest

from conformance.migration.stream import corrupt, total
from conformance.migration.v1.client import Client
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal, expect_errno
from conformance.plugin.devices import Scratch
from conformance.suite.support.cases import named
from conformance.suite.support.corrupt import CORRUPT, CUT, EMPTY, FOREIGN, LONGER, REORDERED
from conformance.suite.support.forged import FORGED, Forge, forged, frames
from conformance.suite.support.steps import set_apart
from conformance.suite.v1.steps import expect_not_resumed, save_and_run

Stream = list[bytes]
Damage = Callable[[Stream, random.Random], Stream]


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
        pytest.skip("the stream is of a format which cannot be forged here")
    expect_not_resumed(client, wrong, did="give a forged stream")


@pytest.mark.rule("resume.invalid")
def test_forged_identity(client: Client, live_stream: Stream) -> None:
    """Give a stream whose first frame, sent in pre-copy, is of another type: refused."""
    known = frames(live_stream)
    if not known or len(known) < 2:
        pytest.skip("the stream has no frame of pre-copy that could be forged")
    first, *others = known
    for kind in (0, 2, 3):
        wrong = [frame.packed() for frame in (first._replace(type=kind), *others)]
        expect_not_resumed(client, wrong, did=f"give a first frame of type {kind}")


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
