# SPDX-License-Identifier: GPL-2.0-only
"""Streams made out of a good one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.migration import stream
from conformance.migration.stream import Stream

GOOD = [b"abc", b"defgh", b"ij"]
STREAMS = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5)


@given(STREAMS, st.integers(0, 50))
def test_cut(good: Stream, size: int) -> None:
    short = stream.cut(good, size)
    assert stream.joined(short) == stream.joined(good)[:size]
    assert all(short)


@given(STREAMS, st.integers(-50, 50), st.integers(1, 255))
def test_corrupt_flips_one_byte_and_no_boundary(good: Stream, position: int, mask: int) -> None:
    bad = stream.corrupt(good, position, mask)
    at = position % stream.total(good)
    assert [len(chunk) for chunk in bad] == [len(chunk) for chunk in good]
    differing = [
        i
        for i, (x, y) in enumerate(zip(stream.joined(good), stream.joined(bad), strict=True))
        if x != y
    ]
    assert differing == [at]


@given(STREAMS, st.integers(1, 9))
def test_rechunk(good: Stream, size: int) -> None:
    other = stream.rechunk(good, size)
    assert stream.joined(other) == stream.joined(good)
    assert all(len(chunk) == size for chunk in other[:-1])


def test_reordered() -> None:
    assert stream.reordered(GOOD) == [b"ij", b"defgh", b"abc"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (GOOD, ""),
        ([b"abcdefgh", b"ij"], ""),
        ([b"abc", b"dXfgh", b"ij"], "byte 0x4 is 0x65 against 0x58 (10 and 10 bytes)"),
        ([b"abc"], "the same for 3 bytes, then 10 against 3 bytes"),
    ],
)
def test_difference(other: Stream, words: str) -> None:
    assert stream.difference(GOOD, other) == words
