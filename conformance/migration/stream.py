# SPDX-License-Identifier: GPL-2.0-only
"""Streams: what a device said while it was saved, as the list of its chunks in their order.

The helpers make new streams out of a good one: cut, corrupt, reordered. They never look inside
a chunk, the contents are the vendor driver's affair.
"""

from collections.abc import Iterable

Stream = list[bytes]


def joined(stream: Iterable[bytes]) -> bytes:
    """Return all bytes of a stream."""
    return b"".join(stream)


def total(stream: Iterable[bytes]) -> int:
    """Return the length of a stream in bytes."""
    return sum(len(chunk) for chunk in stream)


def cut(stream: Stream, size: int) -> Stream:
    """Return the first ``size`` bytes, in the same chunks; no empty chunk at the end."""
    kept: Stream = []
    for chunk in stream:
        if size <= 0:
            break
        kept.append(chunk[:size])
        size -= len(chunk)
    return kept


def corrupt(stream: Stream, position: int, mask: int = 0xFF) -> Stream:
    """Flip the bits of ``mask`` in the byte at ``position``, negative from the end."""
    position %= total(stream)
    result: Stream = []
    for chunk in stream:
        if 0 <= position < len(chunk):
            flipped = bytes((chunk[position] ^ mask,))
            chunk = chunk[:position] + flipped + chunk[position + 1 :]  # noqa: PLW2901
        position -= len(chunk)
        result.append(chunk)
    return result


def rechunk(stream: Stream, size: int) -> Stream:
    """Return the same bytes in chunks of ``size``, the last may be smaller."""
    data = joined(stream)
    return [data[at : at + size] for at in range(0, len(data), size)]


def reordered(stream: Stream) -> Stream:
    """Return the chunks in the opposite order."""
    return stream[::-1]


def difference(one: Iterable[bytes], other: Iterable[bytes]) -> str:
    """Say in words where two streams differ first; empty if they carry the same bytes."""
    a, b = joined(one), joined(other)
    if a == b:
        return ""
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if at is None:
        return f"the same for {min(len(a), len(b))} bytes, then {len(a)} against {len(b)} bytes"
    return f"byte {at:#x} is {a[at]:#04x} against {b[at]:#04x} ({len(a)} and {len(b)} bytes)"
