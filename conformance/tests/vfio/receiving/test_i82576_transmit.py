# SPDX-License-Identifier: GPL-2.0-only
"""The driver of an 82576's transmit queues, against a model of the function."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from conformance.vfio.iommu.guest_memory import IOVA, PAGE
from conformance.vfio.receiving import i82576_transmit as transmit
from conformance.vfio.receiving.i82576_transmit import ENTRIES, STRIDE, Transmitter


class Card:
    """A function that sends what its queues have when it is told to, and its memory."""

    def __init__(self) -> None:
        self.bdf = "0000:01:10.2"
        self.registers: dict[int, int] = {}
        self.bytes = bytearray(64 * PAGE)

    def region(self, index: int) -> Card:
        assert index == 0
        return self

    def write_int(self, offset: int, value: int) -> None:
        assert 0 <= value < 1 << 32
        self.registers[offset] = value

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.bytes[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self.bytes[offset : offset + len(data)] = data

    def _place(self, low: int) -> int:
        return (self.registers[low] | self.registers[low + 4] << 32) - IOVA

    def work(self, at: int = 0) -> list[bytes]:
        """Send all that a queue has, and return the frames."""
        assert self.registers[at + transmit.ENABLES] == transmit.ENABLE
        ring, frames = self._place(at + transmit.BASE), []
        while (head := self.registers[at + transmit.HEAD]) != self.registers[at + transmit.TAIL]:
            place = ring + head * 16
            buffer, kind, _ = struct.unpack("<QII", self.read(place, 16))
            frames.append(self.read(buffer - IOVA, kind & 0xFFFF))
            head = (head + 1) % (self.registers[at + transmit.LENGTH] // 16)
            self.registers[at + transmit.HEAD] = head
            if self.registers[at + transmit.WRITE_BACK] & transmit.WRITES_HEAD:
                back = self._place(at + transmit.WRITE_BACK) - transmit.WRITES_HEAD
                self.write(back, head.to_bytes(4, "little"))
            else:
                self.write(place + 12, transmit.DONE.to_bytes(4, "little"))
        return frames


@pytest.fixture
def card() -> Card:
    return Card()


def made(card: Any, queue: int) -> Transmitter:
    return Transmitter(card, card, queue)


@pytest.mark.parametrize("queue", transmit.QUEUES)
def test_frames_are_sent(card: Card, queue: int) -> None:
    transmitter = made(card, queue)
    transmitter.start(3 * PAGE - 128)
    transmitter.send(9, 10)
    assert not transmitter.is_done()
    frames = card.work(queue * STRIDE)
    assert transmitter.is_done()
    assert (len(frames), {len(frame) for frame in frames}) == (10, {60})
    assert frames[0][:14].hex() == "0276ffffffff02760000018288b5"


def test_the_ring_is_used_again(card: Card) -> None:
    transmitter = made(card, 0)
    transmitter.start(0)
    for _ in range(3):
        transmitter.send(9, ENTRIES - 1)
        assert not transmitter.is_done()
        assert len(card.work()) == ENTRIES - 1
        assert transmitter.is_done()


def test_the_head_is_written_to_memory(card: Card) -> None:
    transmitter = made(card, 0)
    transmitter.start(PAGE, 2 * PAGE)
    transmitter.send(9, 2)
    assert not transmitter.is_done()
    card.work()
    assert transmitter.is_done()
    assert card.read(2 * PAGE, 4) == (2).to_bytes(4, "little")


def test_no_address_is_left_behind(card: Card) -> None:
    transmitter = made(card, 1)
    transmitter.start(PAGE, 2 * PAGE)
    transmitter.stop()
    for register in (transmit.ENABLES, transmit.LENGTH, transmit.WRITE_BACK):
        assert card.registers[STRIDE + register] == 0
