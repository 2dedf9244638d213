# SPDX-License-Identifier: GPL-2.0-only
"""Capability chains: good ones are decoded, broken ones are refused in words."""

import struct

import pytest

from conformance.tests.vfio.fake_device import FakeDevice, chained, kind, sparse
from conformance.vfio.capabilities import (
    Capability,
    RegionType,
    decode_sparse,
    decode_type,
    find,
    find_layout,
    parse_chain,
)
from conformance.vfio.device import REGION_INFO_SIZE, decode_region_info
from conformance.vfio.errors import ChainError
from conformance.vfio.memory.areas import Area

FIXED = REGION_INFO_SIZE


def _head(cap_id: int, following: int) -> bytes:
    return struct.pack("HHI", cap_id, 1, following)


def test_a_chain_is_followed_in_its_order() -> None:
    layout = (Area(0, 0x1000),)
    buffer = bytes(FIXED) + chained([sparse(1, layout), kind(3, 1)])
    caps = parse_chain(buffer, FIXED, FIXED)
    assert [cap.id for cap in caps] == [1, 2]
    assert decode_sparse(caps[0]).areas == layout
    assert decode_type(caps[1]) == RegionType(3, 1)


def test_a_chain_may_go_backwards() -> None:
    buffer = bytes(FIXED) + _head(2, 0) + _head(3, FIXED)
    assert [cap.id for cap in parse_chain(buffer, FIXED + 8, FIXED)] == [3, 2]


def test_no_chain() -> None:
    assert parse_chain(bytes(FIXED), 0, FIXED) == ()


@pytest.mark.parametrize(
    ("buffer", "first", "words"),
    [
        pytest.param(bytes(FIXED + 8), 8, "outside", id="inside the struct"),
        pytest.param(bytes(FIXED + 8), FIXED + 4, "outside", id="head cut by the end"),
        pytest.param(bytes(FIXED + 8), 0x1000, "outside", id="past the end"),
        pytest.param(bytes(FIXED + 32), FIXED + 2, "aligned", id="unaligned"),
        pytest.param(bytes(FIXED) + _head(1, FIXED), FIXED, "loops", id="to itself"),
        pytest.param(
            bytes(FIXED) + _head(1, FIXED + 8) + _head(2, FIXED), FIXED, "loops", id="in a circle"
        ),
        pytest.param(
            bytes(FIXED) + _head(1, FIXED + 4) + bytes(8), FIXED, "loops", id="into a head"
        ),
    ],
)
def test_a_broken_chain_is_refused(buffer: bytes, first: int, words: str) -> None:
    with pytest.raises(ChainError, match=words):
        parse_chain(buffer, first, FIXED)


def test_more_areas_than_bytes() -> None:
    data = bytearray(sparse(6, (Area(0, 0x1000),)))
    data[8] = 2
    with pytest.raises(ChainError, match="claims 2 areas, its 32 bytes hold 1"):
        decode_sparse(Capability(32, 6, 1, bytes(data)))


@pytest.mark.parametrize("decode", [decode_sparse, decode_type])
def test_a_capability_too_small(decode: object) -> None:
    assert callable(decode)
    with pytest.raises(ChainError):
        decode(Capability(32, 6, 1, bytes(8)))


def test_the_same_id_twice() -> None:
    cap = Capability(32, 2, 1, kind(3, 1))
    with pytest.raises(ChainError, match="appears 2 times"):
        find((cap, cap), 2)


def test_no_layout_is_not_an_empty_layout() -> None:
    empty = parse_chain(bytes(FIXED) + sparse(6, ()), FIXED, FIXED)
    layout = find_layout(empty, saving=True)
    assert layout is not None
    assert layout.areas == ()
    assert find_layout(empty, saving=False) is None


def test_a_buffer_too_small_has_no_capabilities() -> None:
    with FakeDevice() as device:
        info = decode_region_info(device.region_info_raw(0, FIXED), FIXED)
        assert info.argsz > FIXED
        assert info.capabilities == ()
        assert [cap.id for cap in device.region_info(0).capabilities] == [1, 6]
