# SPDX-License-Identifier: GPL-2.0-only
"""Words of a stream that change by themselves between two saves of a running device.

Clocks and counters go on between two saves, and checksums follow. Tests that compare streams
skip the words that differ although nothing was done to the device.
"""

import time
from collections.abc import Set
from typing import Final

from conformance.migration.stream import Stream, joined
from conformance.migration.v1.client import Client
from conformance.suite.support.registers import moved_between, registers_of
from conformance.suite.v1.steps import save_and_run
from conformance.vfio import trace

WORD: Final = 4

#: Seconds between two saves.
_WHILE: Final = 0.01
_SAVES: Final = 3


def volatile_words(client: Client) -> set[int]:
    """Save a running device some times and return the numbers of the words that differ.

    Empty unless registers of the device change, too: a driver whose streams differ although
    nothing in its device changes gets no exemption.
    """
    found: set[int] = set()
    with trace.quiet():
        before = registers_of(client.migration.device)
        time.sleep(_WHILE)
        if not moved_between(before, registers_of(client.migration.device)):
            return found
        first = joined(save_and_run(client))
        for _ in range(_SAVES):
            time.sleep(_WHILE)
            found |= differing_words(first, joined(save_and_run(client)))
    if found:
        trace.note(f"these words of the stream change by themselves: {sorted(found)}")
    return found


def differing_words(one: bytes, other: bytes) -> set[int]:
    """Return the numbers of the words in which two streams differ, where both have them."""
    size = min(len(one), len(other))
    return {
        at // WORD for at in range(0, size, WORD) if one[at : at + WORD] != other[at : at + WORD]
    }


def without(stream: Stream, words: Set[int]) -> Stream:
    """Return a stream as one chunk in which some words are zero."""
    data = bytearray(joined(stream))
    for word in words:
        part = data[word * WORD : (word + 1) * WORD]
        data[word * WORD : (word + 1) * WORD] = bytes(len(part))
    return [bytes(data)]
