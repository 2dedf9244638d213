# SPDX-License-Identifier: GPL-2.0-only
"""What two byte strings share: found in either, and in strings of many MiB without much memory."""

import random
import tracemalloc

import pytest

from conformance.suite.v1.sections import shared_words

MARK = random.Random(1).randbytes(1 << 18)  # noqa: S311 - repeatable on purpose
LARGE = b"".join(number.to_bytes(4, "little") for number in range(1 << 20))


@pytest.mark.parametrize("shift", range(8))
def test_what_is_shared_is_found_at_any_place(shift: int) -> None:
    section = bytes(4096 + shift) + MARK[16:48] + bytes(4096)
    assert shared_words(MARK, section) >= 3
    assert shared_words(section, MARK) >= 3


def test_one_word_in_its_place_is_found() -> None:
    assert shared_words(MARK, bytes(4096) + MARK[16:24] + bytes(4096)) == 1


@pytest.mark.parametrize("section", [b"", b"\1", bytes(1 << 20), LARGE, b"\xff" * 64])
def test_nothing_is_shared(section: bytes) -> None:
    assert shared_words(MARK, section) == 0


def test_words_that_tell_nothing_do_not_count() -> None:
    dull = bytes(8) + b"\xff" * 8 + (1).to_bytes(8, "little") + b"\1\2\1\2\1\2\1\2"
    assert shared_words(dull * 8, dull * 64) == 0


def test_a_long_stream_takes_little_memory() -> None:
    tracemalloc.start()
    assert shared_words(MARK, LARGE) == 0
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * len(LARGE)
