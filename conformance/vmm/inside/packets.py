# SPDX-License-Identifier: GPL-2.0-only
"""Numbered packets: how they are made, and how those that come are counted.

``vm-images/vmm/packet.c`` is the same for the innermost guest.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

PROTOCOL: Final = 0x88B5
"""Of Ethernet, for local experiments (IEEE 802)."""

NUMBERS: Final = 65536
"""A packet's number is below."""

_HEAD: Final = struct.Struct(">6s6sH")
_PACKET: Final = struct.Struct(">IH")
_CHECK: Final = struct.Struct(">I")
_LEAST: Final = 60
_MULTICAST: Final = 0x1
_RAMP: Final = bytes(7 * index & 0xFF for index in range(256 + 1040))


def _filling(number: int) -> int:
    return 40 + number * 37 % 1000


def packet(to: bytes, source: bytes, number: int) -> bytes:
    """Return a packet: header, number, length and content of a filling, and a sum of all three."""
    length = _filling(number)
    begin = number * 183 & 0xFF  # where the ramp has the number: 183 is the inverse of 7
    body = _PACKET.pack(number, length) + _RAMP[begin : begin + length]
    return _HEAD.pack(to, source, PROTOCOL) + body + _CHECK.pack(zlib.crc32(body))


@dataclass
class Tally:
    """What became of numbered packets, as their receiver saw it."""

    doubled: int = 0
    corrupted: int = 0
    seen: set[int] = field(default_factory=set)

    @property
    def received(self) -> int:
        """How many different packets came."""
        return len(self.seen)

    def take(self, frame: bytes) -> None:
        """Count a frame; what is sent to many, as by a kernel, is none of ours."""
        if frame[:1] and frame[0] & _MULTICAST:
            return
        if len(frame) < _LEAST or _HEAD.unpack_from(frame)[2] != PROTOCOL:
            self.corrupted += 1
            return
        body, check = frame[_HEAD.size : -_CHECK.size], frame[-_CHECK.size :]
        number, length = _PACKET.unpack_from(body)
        whole = length == _filling(number) == len(body) - _PACKET.size
        if number >= NUMBERS or not whole or check != _CHECK.pack(zlib.crc32(body)):
            self.corrupted += 1
        elif number in self.seen:
            self.doubled += 1
        else:
            self.seen.add(number)


@dataclass(frozen=True)
class Count:
    """What became of the packets in one direction."""

    sent: int
    received: int
    doubled: int
    corrupted: int

    @property
    def lost(self) -> int:
        """How many did not come."""
        return self.sent - self.received

    @property
    def good(self) -> bool:
        """Whether none came twice, came changed, or came that was never sent."""
        return self.doubled == self.corrupted == 0 <= self.lost

    def __str__(self) -> str:
        return (
            f"{self.sent} sent, {self.lost} lost, {self.doubled} doubled, "
            f"{self.corrupted} corrupted"
        )
