# SPDX-License-Identifier: GPL-2.0-only
"""Streams that no device wrote: a good one, damaged in every way that the rules name.

Nothing is known of what a stream contains, so places are chosen by position: the head, where a
vendor's header is likely, the tail, where a checksum may be, and places at random between.
"""

import random
from collections.abc import Callable
from typing import Final

from conformance.migration.stream import Stream, corrupt, cut, joined, reordered, total

Damage = Callable[[Stream, random.Random], Stream]


def like(stream: Stream, data: bytes) -> Stream:
    """Return the bytes in buffers of the same sizes as those of the stream, as far as they go."""
    sizes, made = [len(chunk) for chunk in stream], []
    for size in sizes:
        made.append(data[:size])
        data = data[size:]
    return [chunk for chunk in (*made, data) if chunk]


def _halves_swapped(stream: Stream, rng: random.Random) -> Stream:
    del rng
    data = joined(stream)
    middle = len(data) // 2
    return like(stream, data[middle:] + data[:middle])


def _bit_of_byte(at: int) -> Damage:
    return lambda stream, _: corrupt(stream, min(at, total(stream) - 1), 0x01)


def _one_bit(stream: Stream, rng: random.Random) -> Stream:
    return corrupt(stream, rng.randrange(total(stream)), 1 << rng.randrange(8))


def _burst(stream: Stream, rng: random.Random) -> Stream:
    data = bytearray(joined(stream))
    at = rng.randrange(max(len(data) - 16, 1))
    for step in range(at, min(at + 16, len(data))):
        data[step] ^= rng.randrange(1, 256)
    return like(stream, bytes(data))


#: Bytes that no device of this kind ever wrote.
FOREIGN: Final[dict[str, Damage]] = {
    "zeros": lambda stream, _: like(stream, bytes(total(stream))),
    "ones": lambda stream, _: like(stream, b"\xff" * total(stream)),
    "random": lambda stream, rng: like(stream, rng.randbytes(total(stream))),
    "text": lambda stream, _: [b"not the state of a device\n" * 4][: len(stream)],
}

#: Nothing at all.
EMPTY: Final[dict[str, Damage]] = {
    "nothing": lambda *_: [],
    "empty-buffer": lambda *_: [b""],
}

#: A beginning of the stream, whatever its end falls into.
CUT: Final[dict[str, Damage]] = {
    "first-byte": lambda stream, _: cut(stream, 1),
    "first-32": lambda stream, _: cut(stream, 32),
    "half": lambda stream, _: cut(stream, total(stream) // 2),
    "without-last-buffer": lambda stream, _: stream[:-1],
    "without-last-byte": lambda stream, _: cut(stream, total(stream) - 1),
    "without-first-buffer": lambda stream, _: stream[1:],
}

#: One place in the stream is not what it was; the mask has the bits.
CORRUPT: Final[dict[str, Damage]] = {
    **{f"byte-{at}": _bit_of_byte(at) for at in (0, 8, 12, 16, 20, 24, 28)},
    "last-byte": lambda stream, _: corrupt(stream, -1, 0x80),
    "middle": lambda stream, _: corrupt(stream, total(stream) // 2, 0xFF),
    "a-random-bit": _one_bit,
    "a-burst": _burst,
}

#: All of the stream, and more.
LONGER: Final[dict[str, Damage]] = {
    "a-byte-in-the-last-buffer": lambda stream, _: [*stream[:-1], stream[-1] + b"\0"],
    "a-byte-in-a-buffer-of-its-own": lambda stream, _: [*stream, b"\0"],
    "the-first-bytes-again": lambda stream, _: [*stream, stream[0][:16]],
}

#: The right bytes in the wrong order, or too many of them.
REORDERED: Final[dict[str, Damage]] = {
    "buffers-reversed": lambda stream, _: reordered(stream),
    "halves-swapped": _halves_swapped,
    "a-byte-too-many": lambda stream, _: [*stream, b"\0"],
}

#: A part of a state twice. A whole state may come more than once, see save.whole-again.
TWICE: Final[dict[str, Damage]] = {
    "first-buffer": lambda stream, _: [stream[0], *stream],
    "last-buffer": lambda stream, _: [*stream, stream[-1]],
}
