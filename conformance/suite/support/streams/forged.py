# SPDX-License-Identifier: GPL-2.0-only
"""Streams with a right checksum that are meant for another device, driver or version.

Damage that a checksum finds proves nothing of the checks behind it. To get there one must know how
a stream is made. That is known of one published format, whose streams say so themselves: frames of
a 24-byte header (magic, version, type, vendor, device, length, CRC-32), all little endian, whose
payload begins with the number of the layout and flags if the type is 2. Streams of any other
format cannot be forged here.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from conformance.migration.stream import Stream, joined, total
from conformance.suite.support.streams.corrupt import like

_MAGIC: Final = int.from_bytes(b"VFIOMIG1", "little")
_HEADER: Final = struct.Struct("<QHHHHII")
_STATE: Final = struct.Struct("<II")
_STATE_TYPE: Final = 2
_LARGE: Final = 1 << 20  # bytes; forging them again and again would prove no more


class _Frame(NamedTuple):
    magic: int
    version: int
    type: int
    vendor: int
    device: int
    payload: bytes

    def packed(self) -> bytes:
        words = (*self[:5], len(self.payload))
        crc = zlib.crc32(_HEADER.pack(*words, 0) + self.payload)
        return _HEADER.pack(*words, crc) + self.payload


Forge = Callable[[_Frame], _Frame | None]


def _state(change: Callable[[int, int, bytes], tuple[int, int, bytes]]) -> Forge:
    """Return what changes layout, flags or values of the frame of the state."""

    def forge(frame: _Frame) -> _Frame | None:
        if frame.type != _STATE_TYPE or len(frame.payload) < _STATE.size:
            return None
        layout, flags = _STATE.unpack_from(frame.payload)
        layout, flags, rest = change(layout, flags, frame.payload[_STATE.size :])
        return frame._replace(payload=_STATE.pack(layout, flags) + rest)

    return forge


def _number(name: str, bits: int, change: Callable[[int], int]) -> Forge:
    def forge(frame: _Frame) -> _Frame:
        changed: dict[str, Any] = {name: change(getattr(frame, name)) % (1 << bits)}
        return frame._replace(**changed)

    return forge


def _payload_byte(at: int, by: int) -> Forge:
    """Return what makes one byte of the payload more or less: its first one is of a number."""

    def forge(frame: _Frame) -> _Frame | None:
        if not -len(frame.payload) <= at < len(frame.payload):
            return None
        payload = bytearray(frame.payload)
        payload[at] = (payload[at] + by) % 256
        return frame._replace(payload=bytes(payload))

    return forge


#: What is forged in the last frame, which is that of the state.
FORGED: Final[dict[str, Forge]] = {
    f"{name}-{word}": _number(name, bits, change)
    for name, bits in (("magic", 64), ("version", 16), ("type", 16), ("vendor", 16), ("device", 16))
    for word, change in (("less", lambda n: n - 1), ("more", lambda n: n + 1))
} | {
    "magic-reversed": _number(
        "magic", 64, lambda n: int.from_bytes(n.to_bytes(8, "little"), "big")
    ),
    "layout-less": _state(lambda layout, flags, rest: ((layout - 1) % (1 << 32), flags, rest)),
    "layout-more": _state(lambda layout, flags, rest: ((layout + 1) % (1 << 32), flags, rest)),
    "unknown-flag": _state(lambda layout, flags, rest: (layout, flags | 1 << 31, rest)),
    "lost-identity": _state(lambda layout, flags, rest: (layout, flags | 1, rest)),
    "value-less": _state(lambda layout, flags, rest: (layout, flags, rest[:-4])),
    "value-more": _state(lambda layout, flags, rest: (layout, flags, rest + bytes(4))),
}


#: The same for the first frame of a save with pre-copy, which identifies the device.
FORGED_FIRST: Final[dict[str, Forge]] = {
    name: forge
    for name, forge in FORGED.items()
    if name.partition("-")[0] in {"magic", "version", "type", "vendor", "device"}
} | {
    "payload-less": _payload_byte(0, -1),
    "payload-more": _payload_byte(0, 1),
    "payload-end-less": _payload_byte(-1, -1),
    "payload-end-more": _payload_byte(-1, 1),
    "payload-flag": _payload_byte(4, 1),  # the lowest, which a frame of the other type may have
}

#: Lengths that a header claims, from its own and from how many bytes follow the header.
LENGTHS: Final[dict[str, Callable[[int, int], int]]] = {
    "none": lambda *_: 0,
    "one": lambda *_: 1,
    "one-less": lambda own, _: own - 1,
    "one-more": lambda own, _: own + 1,
    "half": lambda own, _: own // 2,
    "all-but-one": lambda _, rest: rest - 1,
    "all": lambda _, rest: rest,
    "one-past": lambda _, rest: rest + 1,
    "64-KiB-past": lambda _, rest: rest + (1 << 16),
    "2-GiB": lambda *_: 1 << 31,
    "largest": lambda *_: (1 << 32) - 1,
    "wrapping-with-the-header": lambda *_: (1 << 32) - _HEADER.size,
}


def frames(stream: Stream) -> list[_Frame] | None:
    """Return the frames of a stream; None if it is of another format, or large."""
    if total(stream) > _LARGE:
        return None
    data, found = joined(stream), []
    while data:
        if len(data) < _HEADER.size:
            return None
        magic, version, kind, vendor, device, length, crc = _HEADER.unpack_from(data)
        payload, data = data[_HEADER.size :][:length], data[_HEADER.size + length :]
        frame = _Frame(magic, version, kind, vendor, device, payload)
        if magic != _MAGIC or frame.packed()[20:24] != struct.pack("<I", crc):
            return None
        found.append(frame)
    return found or None


def forged(stream: Stream, forge: Forge, number: int = -1) -> Stream | None:
    """Return the stream with one frame forged, the last one; None if that cannot be done."""
    known = frames(stream)
    made = forge(known[number]) if known else None
    if known is None or made is None:
        return None
    known[number] = made
    return like(stream, b"".join(frame.packed() for frame in known))


def with_length(
    stream: Stream, change: Callable[[int, int], int], number: int = -1
) -> Stream | None:
    """Return the stream in which one header claims another length, with a right checksum.

    The checksum is that of the bytes that follow, as far as there are any. None if the stream is
    of another format, or that length is the frame's own.
    """
    known = frames(stream)
    if not known:
        return None
    packed = [frame.packed() for frame in known]
    number %= len(packed)
    before, rest = joined(packed[:number]), joined(packed[number:])[_HEADER.size :]
    own = len(known[number].payload)
    length = change(own, len(rest)) % (1 << 32)
    if length == own:
        return None
    words = (*known[number][:5], length)
    crc = zlib.crc32(_HEADER.pack(*words, 0) + rest[:length])
    return like(stream, before + _HEADER.pack(*words, crc) + rest)
