# SPDX-License-Identifier: GPL-2.0-only
"""Forged streams: only what is asked for is changed, and the checksum is right."""

import struct
import zlib

import pytest

from conformance.suite.support.streams import forged


def frame(kind: int, payload: bytes) -> bytes:
    head = struct.pack("<8sHHHHI", b"VFIOMIG1", 1, kind, 0x8086, 0x10CA, len(payload))
    return head + struct.pack("<I", zlib.crc32(head + bytes(4) + payload)) + payload


STATE = frame(2, struct.pack("<IIII", 0x1234, 0, 7, 8))
STREAM = [frame(1, b""), STATE[:30], STATE[30:]]


def test_frames_are_found_whatever_the_buffers() -> None:
    found = forged.frames(STREAM)
    assert found is not None
    assert [(one.version, one.type, one.device) for one in found] == [
        (1, 1, 0x10CA),
        (1, 2, 0x10CA),
    ]
    assert b"".join(one.packed() for one in found) == b"".join(STREAM)


@pytest.mark.parametrize(
    "stream",
    [[], [b"short"], [b"text " * 20], [STATE[:-1]], [STATE[:-1] + b"x"], [bytes(2 << 20)]],
)
def test_other_formats_are_left_alone(stream: list[bytes]) -> None:
    assert forged.frames(stream) is None
    assert forged.forged(stream, forged.FORGED["magic-less"]) is None


@pytest.mark.parametrize("name", forged.FORGED)
def test_what_is_forged_is_whole_and_different(name: str) -> None:
    made = forged.forged(STREAM, forged.FORGED[name])
    assert made is not None
    data = b"".join(made)[24:]
    length, crc = struct.unpack_from("<II", data, 16)
    assert len(data) == 24 + length
    assert crc == zlib.crc32(data[:20] + bytes(4) + data[24:])
    assert data != STATE
    assert made[0] == STREAM[0]


def test_only_a_state_has_a_layout() -> None:
    assert forged.forged(STREAM[:1], forged.FORGED["layout-less"]) is None


def test_the_first_frame_is_forged_alone() -> None:
    made = forged.forged(STREAM, forged.FORGED_FIRST["vendor-more"], 0)
    assert made is not None
    data = b"".join(made)
    assert struct.unpack_from("<H", data, 12) == (0x8087,)
    assert data[24:] == STATE
    assert forged.forged(STREAM, forged.FORGED_FIRST["payload-more"], 0) is None


@pytest.mark.parametrize("number", [0, -1])
@pytest.mark.parametrize("name", forged.LENGTHS)
def test_a_forged_length_has_a_right_checksum(name: str, number: int) -> None:
    made = forged.with_length(STREAM, forged.LENGTHS[name], number)
    good = b"".join(STREAM)
    if made is None:
        own, rest = (0, len(STATE)) if number == 0 else (len(STATE) - 24,) * 2
        assert forged.LENGTHS[name](own, rest) == own
        return
    at = 0 if number == 0 else 24
    data = b"".join(made)
    length, crc = struct.unpack_from("<II", data, at + 16)
    assert (len(data), data[at + 24 :]) == (len(good), good[at + 24 :])
    assert length != struct.unpack_from("<I", good, at + 16)[0]
    assert crc == zlib.crc32(data[at : at + 20] + bytes(4) + data[at + 24 :][:length])
