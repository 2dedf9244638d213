# SPDX-License-Identifier: GPL-2.0-only
"""The driver of an 82576's receive queue, against a model of the function and its physical one."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from conformance.vfio.iommu.guest_memory import IOVA, PAGE
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.i82576 import NoAnswer, PacketReceiver
from conformance.vfio.receiving.packets import RECEIVED, address_of
from conformance.vfio.receiving.receiver import ENTRIES

BDF = "0000:01:10.2"
SENT = 1 << 4


class Memory:
    """The guest's pages, without an IOMMU."""

    def __init__(self) -> None:
        self.bytes = bytearray(64 * PAGE)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.bytes[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self.bytes[offset : offset + len(data)] = data


class Card:
    """A function: registers, a mailbox that is answered, and a queue that `deliver` fills."""

    def __init__(self, memory: Memory, answer: int = 1 << 31, bdf: str = BDF) -> None:
        self.bdf = bdf
        self.memory = memory
        self.answer = answer
        self.registers: dict[int, int] = {RECEIVED: 1000}
        self.messages: list[tuple[int, ...]] = []
        self.late: list[tuple[int, int]] = []  # what the physical function is about to write

    def region(self, index: int) -> Any:
        return self if index == 0 else Command()

    known = region

    def read_int(self, offset: int) -> int:
        value = self.registers.get(offset, 0)
        if offset == i82576.MAILBOX:
            self._go_on()
        return value

    def _go_on(self) -> None:
        """Write the next word of the answer; the bit that it is sent comes with the last one."""
        self.registers[i82576.MAILBOX] &= ~SENT
        if self.late:
            offset, value = self.late.pop(0)
            self.registers[offset] = value
            self.registers[i82576.MAILBOX] |= 0 if self.late else SENT

    def write_int(self, offset: int, value: int) -> None:
        self.registers[offset] = value
        if offset == i82576.MAILBOX and value & 1:
            words = [self.read_int(i82576.MESSAGE + 4 * at) for at in range(3)]
            self.messages.append(tuple(words[: words[0] * 2 - 1]))
            if self.answer:
                answer = [words[0] | self.answer, 0, 0]
                self.late = [(i82576.MESSAGE + 4 * at, answer[at]) for at in range(3)]

    def deliver(self, number: int) -> int:
        """Fill the next buffer, and return its page."""
        head, tail = self.read_int(i82576.HEAD), self.read_int(i82576.TAIL)
        assert self.read_int(i82576.ENABLES) & i82576.ENABLE
        assert head != tail
        ring = self.read_int(i82576.BASE) | self.read_int(i82576.BASE_HIGH) << 32
        at = ring - IOVA + head * 16
        (buffer,) = struct.unpack("<Q", self.memory.read(at, 8))
        self.memory.write(buffer - IOVA + 14, number.to_bytes(8, "little"))
        self.memory.write(at, struct.pack("<QII", 0, i82576.DONE, 0))
        entries = self.read_int(i82576.LENGTH) // 16
        self.registers[i82576.HEAD] = head + 1 if head + 1 < entries else 0
        self.registers[RECEIVED] += 1
        return int(buffer - IOVA) // PAGE


class Command:
    """Configuration space, as far as it concerns bus mastering."""

    def __init__(self) -> None:
        self.value = 0

    def read_int(self, *_place: int) -> int:
        return self.value

    def write_int(self, *place: int) -> None:
        self.value = place[1]


class Sender:
    """Frames that are sent by the test itself."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def there(self, card: Card) -> Sender:
        return Sender(card)

    def set_rate(self, rate: int) -> None:
        assert rate == 0

    def count(self) -> int:
        return self.card.read_int(RECEIVED)


@pytest.fixture
def card() -> Card:
    return Card(Memory())


@pytest.fixture
def receiver(card: Card) -> PacketReceiver:
    made: Any = PacketReceiver
    started: PacketReceiver = made(card, card.memory, Sender(card), 60)
    started.start()
    return started


def test_the_physical_function_is_asked_for_packets(card: Card, receiver: PacketReceiver) -> None:
    assert receiver.device.bdf == BDF
    low, high = struct.unpack("<II", address_of(BDF) + bytes(2))
    assert card.messages == [(1,), (2, low, high)]


def test_an_address_that_is_refused(card: Card, receiver: PacketReceiver) -> None:
    card.answer = 1 << 30
    with pytest.raises(NoAnswer, match="refuses message 2"):
        receiver.announce()


def test_nobody_answers(
    card: Card, receiver: PacketReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(i82576, "_PATIENCE", 0.01)
    card.answer = 0
    with pytest.raises(NoAnswer, match="does not answer message 1"):
        receiver.announce()


def test_pages_by_the_number_of_the_write(card: Card, receiver: PacketReceiver) -> None:
    rng = random.Random(1)  # noqa: S311 - repeatable on purpose
    filled: list[int] = []
    for turn in range(3 * ENTRIES):
        receiver.refill(rng, 7)
        filled.append(card.deliver(turn))
        receiver.take()
    for first in range(len(filled)):
        assert receiver.pages(1000 + first, 1000 + first + 4) == set(filled[first : first + 4])
    assert receiver.messages == {BDF: list(range(3 * ENTRIES))}


def test_a_ring_that_is_moved(card: Card, receiver: PacketReceiver) -> None:
    receiver.post([1, 2, 3])
    card.deliver(0)
    card.memory.write(60 * PAGE, receiver.ring(60, [61, 62, 63]))
    receiver.set_base(60)
    filled = {card.deliver(1), card.deliver(2)}
    assert filled == receiver.pages(1001, 1003) == {62, 63}


def test_a_ring_that_is_resized(card: Card, receiver: PacketReceiver) -> None:
    receiver.post(list(range(1, ENTRIES)))
    card.deliver(0)
    receiver.describe(0, 0, 9)
    receiver.resize(2)
    filled = [card.deliver(1), card.deliver(2)]
    assert filled == [2, 9]
    assert receiver.pages(1001, 1003) == set(filled)


def test_a_head_that_is_set_back(card: Card, receiver: PacketReceiver) -> None:
    receiver.post([1, 2])
    assert [card.deliver(0), card.deliver(1)] == [1, 2]
    receiver.describe(0, 0, 61)
    receiver.set_head(0)
    assert card.deliver(2) == 61
    assert receiver.pages(1002, 1003) == {61}


def test_a_buffer_that_begins_inside_a_page(card: Card, receiver: PacketReceiver) -> None:
    receiver.post([5], offset=PAGE - 16)
    assert struct.unpack("<Q", card.memory.read(0, 8)) == (IOVA + 6 * PAGE - 16,)
    assert card.deliver(0) == 5


def test_buffers_of_another_size(card: Card, receiver: PacketReceiver) -> None:
    assert card.read_int(i82576.CONTROL) & 0x7F == PAGE // 1024
    receiver.post([1], size=0xFFFF)
    assert card.read_int(i82576.CONTROL) & 0x7F == 64


def test_another_function_goes_on(card: Card, receiver: PacketReceiver) -> None:
    receiver.post([1, 2, 3])
    card.deliver(7)
    there = Card(card.memory, bdf="0000:01:10.4")
    there.registers = {**card.registers, RECEIVED: 5}
    receiver.move(there)  # type: ignore[arg-type]
    assert there.deliver(8) == 2
    receiver.take()
    assert receiver.pages(5, 6) == {2}
    assert receiver.messages == {BDF: [7], "0000:01:10.4": [8]}


def test_no_ring_is_left_behind(card: Card, receiver: PacketReceiver) -> None:
    receiver.post([1, 2])
    there = Card(card.memory, bdf="0000:01:10.4")
    made: Any = receiver
    made.move(there)
    there.registers |= {i82576.ENABLES: i82576.ENABLE, i82576.LENGTH: 512}
    receiver.stop()
    for one in (card, there):
        assert (one.read_int(i82576.ENABLES), one.read_int(i82576.LENGTH)) == (0, 0)
