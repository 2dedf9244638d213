# SPDX-License-Identifier: GPL-2.0-only
"""Frames for a virtual function: what they hold, and what becomes of errors."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest

from conformance.vfio.receiving import packets
from conformance.vfio.receiving.packets import HEADER, NotSent, Packets, address_of

BDF = "0000:01:10.2"


class Card:
    bdf = BDF

    def region(self, _index: int) -> Any:
        return self

    known = region


class Interface:
    """A socket that keeps what is sent, or fails."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.errors: list[int] = []

    def __call__(self, *_: object) -> Interface:
        return self

    def __enter__(self) -> Interface:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def bind(self, place: tuple[str, int]) -> None:
        assert place == ("lo", 0)

    def send(self, frame: bytes) -> None:
        if self.errors:
            raise OSError(self.errors.pop(), "as asked")
        self.frames.append(frame)


@pytest.fixture
def interface(monkeypatch: pytest.MonkeyPatch) -> Interface:
    made = Interface()
    monkeypatch.setattr("socket.socket", made)
    monkeypatch.setattr(packets, "_PATIENCE", 0.5)
    return made


@pytest.fixture
def sender(interface: Interface) -> Packets:
    assert Path("/sys/class/net/lo/address").exists()
    assert not interface.frames
    return Packets(Card(), "lo")  # type: ignore[arg-type]


def numbers(frames: list[bytes]) -> list[int]:
    return [int.from_bytes(frame[HEADER : HEADER + 8], "little") for frame in frames]


def send(sender: Packets, interface: Interface, count: int) -> None:
    sender.set_rate(2000)
    while len(interface.frames) < count:
        time.sleep(0.001)
    sender.set_rate(0)


def test_frames_are_numbered_and_go_to_the_function(sender: Packets, interface: Interface) -> None:
    send(sender, interface, 20)
    there = sender.there(Card())  # type: ignore[arg-type]
    send(there, interface, len(interface.frames) + 5)
    assert numbers(interface.frames) == list(range(len(interface.frames)))
    assert {frame[:6] for frame in interface.frames} == {address_of(BDF)}
    assert all(60 <= len(frame) < 1500 for frame in interface.frames)
    assert len({frame[HEADER + 8 :] for frame in interface.frames[:20]}) == 20


def test_a_frame_has_gone_when_sending_begins(sender: Packets, interface: Interface) -> None:
    interface.errors = [errno.ENOBUFS] * 3
    sender.set_rate(1000)
    assert interface.frames
    sender.set_rate(0)
    assert sender.effort() == f"{len(interface.frames)} frames were sent from lo"


def test_nothing_can_be_sent(sender: Packets, interface: Interface) -> None:
    interface.errors = [errno.ENOBUFS] * 5000
    with pytest.raises(NotSent, match=r"no frame is sent from lo in 0.5 s"):
        sender.set_rate(100)
    sender.set_rate(0)


def test_an_error_is_raised_later(sender: Packets, interface: Interface) -> None:
    interface.errors = [errno.ENETDOWN]
    sender.set_rate(100)
    with pytest.raises(OSError, match="as asked"):
        sender.set_rate(0)
    sender.set_rate(0)


def test_a_kernel_without_packet_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    assert packets.can_be_sent()
    monkeypatch.setattr("socket.socket", refuse)
    assert not packets.can_be_sent()
