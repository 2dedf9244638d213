# SPDX-License-Identifier: GPL-2.0-only
"""RESUMING: what is taken, what is refused, and what is judged."""

import random
from collections.abc import Callable

import pytest

from conformance.migration.stream import Stream, corrupt, difference, joined, rechunk, total
from conformance.migration.v2.client import Client
from conformance.migration.v2.vmm import SmallVmm, Vmm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.plugin.declared import Scratch
from conformance.suite.support.cases import named
from conformance.suite.support.steps import set_apart
from conformance.suite.support.streams.corrupt import CORRUPT, CUT, EMPTY, FOREIGN, LONGER
from conformance.suite.v2.steps import (
    FAILED,
    expect_not_loaded,
    expect_taken,
    expect_whole,
    open_again,
    state_of,
)

Damage = Callable[[Stream, random.Random], Stream]
PIECES = {"1": 1, "3": 3, "4096": 4096, "64-KiB": 1 << 16}
#: A byte a write is for short streams only.
LONG = 1 << 14
#: Bytes in which the head of a stream lies, and ways to damage it.
HEAD = 64
HEADS = {name: CORRUPT[name] for name in ("byte-0", "byte-8", "byte-16")}


@pytest.mark.rule("resume2.any-segmentation")
@pytest.mark.parametrize("size", named(PIECES))
def test_any_size_of_write(client: Client, stream: Stream, size: int) -> None:
    """Load a stream in pieces of a size: it is taken."""
    data = joined(stream)
    head = rechunk([data[:LONG]], size)
    expect_whole(client, [*head, *([data[LONG:]] if data[LONG:] else [])], did=f"pieces of {size}")


@pytest.mark.rule("resume2.any-segmentation")
def test_random_pieces(client: Client, stream: Stream, rng: random.Random) -> None:
    """Load a stream in pieces of random sizes: it is taken."""
    data, pieces = joined(stream), []
    while data:
        size = rng.randint(1, max(1, len(data) // 3))
        pieces.append(data[:size])
        data = data[size:]
    expect_whole(client, pieces, did=f"load in {len(pieces)} pieces")


@pytest.mark.rule("resume2.round-trip")
def test_round_trip(client: Client, stream: Stream) -> None:
    """Load a stream, save at once in one SET: an equal stream."""
    client.load(stream, then=State.STOP_COPY)
    again = client.read_all()
    expect_equal(difference(stream, again), "", did="load a stream, save, compare")


@pytest.mark.rule("resume2.round-trip")
def test_round_trip_over_others(client: Client, scratch: list[Scratch]) -> None:
    """Save registers, change them, load, save before it runs: an equal stream."""
    set_apart(scratch, 0x4B5C6D7E)
    stream = client.save()
    set_apart(scratch, ~0x4B5C6D7E & 0xFFFFFFFF)
    client.load(stream, then=State.STOP_COPY)
    again = client.read_all()
    expect_equal(difference(stream, again), "", did="load over other values, save, compare")


@pytest.mark.rule("resume2.round-trip")
def test_written_after_a_load(client: Client, scratch: list[Scratch]) -> None:
    """Load, run, write registers, stop, run: they keep their values, and a save has them."""
    set_apart(scratch, 0x5C6D7E8F)
    client.load(client.save())
    written = set_apart(scratch, 0x7182939F)
    client.go(State.STOP, State.RUNNING)
    expect_equal([place.read() for place in scratch], written, did="load, write, stop, run, read")
    stream = client.save()
    set_apart(scratch, 0x5C6D7E8F)
    expect_whole(client, stream, did="load, write registers, save, change registers")
    expect_equal([place.read() for place in scratch], written, did="load that, read the registers")


@pytest.mark.rule("resume2.round-trip")
def test_registers_come_back(client: Client, scratch: list[Scratch]) -> None:
    """Save registers, turn each bit over, load: they have the values that were saved."""
    written = set_apart(scratch, 0x2A3B4C5D)
    stream = client.save()
    set_apart(scratch, ~0x2A3B4C5D & 0xFFFFFFFF)
    expect_whole(client, stream, did="save, change registers")
    expect_equal([place.read() for place in scratch], written, did="load, read the registers")


@pytest.mark.rule("resume2.round-trip")
@pytest.mark.parametrize("keep", [False, True], ids=["closed", "open"])
def test_as_a_monitor_does(client: Client, scratch: list[Scratch], vmm: Vmm, *, keep: bool) -> None:
    """Save and load in a monitor's order, the file closed or open: the registers come back."""
    written = set_apart(scratch, 0x3C4D5E6F)
    with expect_success(did="save in a monitor's order"):
        stream = vmm.save()
        vmm.start()
    set_apart(scratch, 0x13141516)
    client.device.reset()
    with expect_success(did="load in a monitor's order, then start"):
        vmm.load(stream, keep=keep)
        vmm.start()
        vmm.close()
    expect_equal([place.read() for place in scratch], written, did="start, read the registers")


@pytest.mark.rule("resume2.round-trip")
def test_as_a_small_monitor_does(client: Client, stream: Stream) -> None:
    """Save and load as a monitor without pre-copy and P2P: all of it succeeds."""
    vmm = SmallVmm(client.device)
    with expect_success(did="save, run on, load and start as a small monitor"):
        vmm.stop()
        saved = vmm.complete()
        vmm.cleanup()
        vmm.start()
        vmm.load(saved)
        vmm.start()
    vmm.close()
    expect_equal(state_of(client), State.RUNNING, did="GET after that")
    assert stream


@pytest.mark.rule("resume2.incomplete")
@pytest.mark.parametrize("damage", named({**EMPTY, **CUT}))
def test_incomplete(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Load none of a stream, or a part of it: refused when RESUMING is left, at the latest."""
    expect_not_loaded(client, damage(stream, rng), did="load a cut stream")
    expect_whole(client, stream, did="be refused, reset")


@pytest.mark.rule("resume2.incomplete")
def test_each_short_length(client: Client, stream: Stream, rng: random.Random) -> None:
    """Load heads of a stream of many lengths: each is refused."""
    data = joined(stream)
    lengths = {0, 1, len(data) - 1, *(rng.randrange(len(data)) for _ in range(12))}
    for length in sorted(lengths):
        expect_not_loaded(client, [data[:length]], did=f"load {length} of {len(data)} bytes")


@pytest.mark.rule("resume2.invalid")
@pytest.mark.parametrize("damage", named({**FOREIGN, **CORRUPT}))
def test_invalid(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Load foreign or corrupt data: refused at a write, or when RESUMING is left."""
    left = (*FAILED, State.STOP)  # what is in doubt may be found out late, but must not run
    expect_not_loaded(client, damage(stream, rng), did="load data that is no stream", left=left)
    expect_whole(client, stream, did="be refused, reset")


@pytest.mark.rule("resume2.invalid")
@pytest.mark.parametrize("damage", named({**FOREIGN, **HEADS}))
def test_invalid_in_pieces(
    client: Client, stream: Stream, rng: random.Random, damage: Damage
) -> None:
    """Load foreign data, or a damaged head, in pieces of 7 bytes: refused as in one piece."""
    data = joined(damage(stream, rng))
    pieces = [*rechunk([data[:HEAD]], 7), data[HEAD:]]
    left = (*FAILED, State.STOP)
    expect_not_loaded(client, pieces, did="load data that is no stream, in pieces", left=left)


@pytest.mark.rule("resume2.failed-write")
@pytest.mark.parametrize("behind", named({"all-of-it": 0, "the-rest": 1}))
def test_failed_write(client: Client, stream: Stream, behind: int) -> None:
    """Go on with good data after a write was refused: the session cannot end in success.

    The good data is a whole stream, or what belongs behind the refused bytes.
    """
    data = joined(stream)
    noise = bytes(byte ^ 0xFF for byte in data[: len(data) // 2])
    client.set(State.RESUMING)
    refused = False
    try:
        client.write_all([noise])
    except OSError:
        refused = True
    with expect_errno(did=f"write noise ({'refused' if refused else 'taken'}), then a stream"):
        client.write_all([data[len(noise) * behind :]])
        client.set(State.RUNNING)
    client.device.reset()


@pytest.mark.rule("resume2.bound")
@pytest.mark.parametrize("damage", named(LONGER))
def test_longer(client: Client, stream: Stream, rng: random.Random, damage: Damage) -> None:
    """Load a stream and more: refused."""
    left = (*FAILED, State.STOP)
    expect_not_loaded(client, damage(stream, rng), did="load a stream and more", left=left)


@pytest.mark.rule("resume2.bound")
def test_endless(client: Client) -> None:
    """Write zeros on and on, up to 64 MiB: refused, or taken and then refused; never a fault."""
    client.set(State.RESUMING)
    block = bytes(1 << 20)
    with expect_errno(did="write 64 MiB of zeros, SET RUNNING"):
        for _ in range(64):
            client.write_all([block])
        client.set(State.RUNNING)
    client.device.reset()


@pytest.mark.rule("resume2.bound")
def test_huge_length(client: Client, stream: Stream) -> None:
    """Write with a length near 2^63 from nowhere: an error, the load goes on or fails for good."""
    client.set(State.RESUMING)
    for size in (0x7FFFF000, (1 << 63) - 1):
        with expect_errno(did=f"write {size:#x} bytes from an unmapped address"):
            client.session.write_from(1 << 46, size)
    expect_true(
        state_of(client) is State.RESUMING, did="GET", expected="RESUMING", actual="another"
    )
    client.device.reset()
    expect_whole(client, stream, did="write with a huge length, reset")


@pytest.mark.rule("resume2.abort")
@pytest.mark.parametrize("share", [0, 50, 100])
def test_abort(client: Client, stream: Stream, share: int) -> None:
    """Reset in the middle of a load: it runs, and can be saved and loaded."""
    client.set(State.RESUMING)
    client.write_all([joined(stream)[: total(stream) * share // 100]] if share else [])
    client.device.reset()
    expect_equal(state_of(client), State.RUNNING, did=f"reset after {share} % of a load")
    expect_whole(client, client.save(), did="reset in a load, save")


@pytest.mark.rule("resume2.judged-anew")
def test_a_good_load_vouches_for_nothing(client: Client, stream: Stream) -> None:
    """Load well, then load nothing: refused; open anew, load nothing: refused."""
    expect_whole(client, stream, did="load")
    expect_not_loaded(client, [], did="load well, then nothing")
    open_again(client)
    expect_not_loaded(client, [], did="open anew, load nothing")


@pytest.mark.rule("resume2.judged-anew")
def test_a_good_load_vouches_for_no_other(client: Client, stream: Stream) -> None:
    """Load well, then with a damaged head: refused; open anew, the same: refused."""
    expect_whole(client, stream, did="load")
    wrong, left = corrupt(stream, 0), (*FAILED, State.STOP)
    expect_not_loaded(client, wrong, did="load well, then with a damaged head", left=left)
    open_again(client)
    expect_not_loaded(client, wrong, did="open anew, load with a damaged head", left=left)


@pytest.mark.rule("resume2.judged-anew")
def test_a_bad_load_spoils_nothing(client: Client, stream: Stream) -> None:
    """Be refused, reset, load well: it is taken."""
    left = (*FAILED, State.STOP)
    expect_not_loaded(client, [b"no stream at all" * 8], did="load no stream", left=left)
    expect_taken(client, State.RUNNING)
    expect_whole(client, stream, did="be refused, reset")
