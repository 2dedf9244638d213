# SPDX-License-Identifier: GPL-2.0-only
"""The vfio-user server, spoken to over a socket pair as a client does."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conformance.lab.machine.vfio_user import protocol
from conformance.lab.machine.vfio_user.connection import Connection
from conformance.lab.machine.vfio_user.i40e import I40eVirtualFunction
from conformance.lab.machine.vfio_user.protocol import HEADER, Command
from conformance.lab.machine.vfio_user.server import Session, listen
from conformance.uapi.constants import (
    VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
)

CONFIG = VFIO_PCI_CONFIG_REGION_INDEX
ATTACH = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER


class RefusalError(Exception):
    """The server answered with an error."""


@dataclass
class Client:
    """The smallest client that can see all that the server does."""

    sock: socket.socket
    errors: list[Exception] = field(default_factory=list)
    _id: int = 0

    def send(
        self, command: int, payload: bytes = b"", fds: list[int] | None = None, flags: int = 0
    ) -> int:
        self._id += 1
        header = HEADER.pack(self._id, command, HEADER.size + len(payload), flags, 0)
        socket.send_fds(self.sock, [header + payload], fds or [])
        return self._id

    def answer(self, number: int, command: int) -> bytes:
        raw = self.sock.recv(HEADER.size, socket.MSG_WAITALL)
        assert len(raw) == HEADER.size, "the server closed the connection"
        got, echoed, size, flags, error = HEADER.unpack(raw)
        assert (got, echoed) == (number, command)
        payload = self.sock.recv(size - HEADER.size, socket.MSG_WAITALL) if size > 16 else b""
        assert flags & protocol.TYPE_MASK == protocol.TYPE_REPLY
        if flags & protocol.FLAG_ERROR:
            raise RefusalError(errno.errorcode[error])
        return payload

    def call(self, command: int, payload: bytes = b"", fds: list[int] | None = None) -> bytes:
        return self.answer(self.send(command, payload, fds), command)

    def read(self, region: int, offset: int, count: int) -> bytes:
        layout = protocol.REGION_ACCESS
        reply = self.call(Command.REGION_READ, layout.pack(offset, region, count))
        assert layout.unpack_from(reply) == (offset, region, count)
        return reply[layout.size :]

    def write(self, region: int, offset: int, data: bytes) -> None:
        layout = protocol.REGION_ACCESS
        head = layout.pack(offset, region, len(data))
        assert self.call(Command.REGION_WRITE, head + data) == head

    def get(self, offset: int, region: int = 0) -> int:
        return int.from_bytes(self.read(region, offset, 4), "little")

    def put(self, offset: int, value: int, region: int = 0) -> None:
        self.write(region, offset, value.to_bytes(4, "little"))

    def capability(self, wanted: int) -> int:
        at = self.read(CONFIG, 0x34, 1)[0]
        while at:
            number, following = self.read(CONFIG, at, 2)
            if number == wanted:
                return at
            at = following
        pytest.fail(f"no capability {wanted:#x}")

    def counts(self, offset: int, bar: int = 0) -> tuple[int, ...]:
        at = self.capability(0x09)
        self.put(at + 8, bar << 28 | offset, CONFIG)
        return struct.unpack("<6I", self.read(CONFIG, at + 12, 24))

    def irqs(self, flags: int, start: int, count: int, fds: list[int] | None = None) -> None:
        size = protocol.IRQ_SET.size
        head = protocol.IRQ_SET.pack(size, flags, VFIO_PCI_MSIX_IRQ_INDEX, start, count)
        assert self.call(Command.DEVICE_SET_IRQS, head, fds) == b""


@pytest.fixture
def client() -> Iterator[Client]:
    """A client whose version is accepted; the session must end with it, without an exception."""
    ours, theirs = socket.socketpair()
    client = Client(ours)

    def run() -> None:
        with theirs:
            try:
                Session(Connection(theirs), I40eVirtualFunction()).run()
            except Exception as error:
                client.errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with ours:
        ours.settimeout(10)
        reply = client.call(Command.VERSION, protocol.VERSION.pack(0, 1) + b"{}\0")
        assert protocol.VERSION.unpack_from(reply) == (0, 0)
        assert json.loads(reply[4:].rstrip(b"\0"))["capabilities"]["max_msg_fds"] == 8
        yield client
    thread.join(10)
    assert not thread.is_alive()


def test_tells_what_the_device_is(client: Client) -> None:
    reply = client.call(Command.DEVICE_GET_INFO, protocol.DEVICE_INFO.pack(16, 0, 0, 0))
    assert protocol.DEVICE_INFO.unpack(reply) == (16, 3, 9, 5)


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0x10000), (1, 0), (2, 0), (3, 0x4000), (6, 0), (7, 4096), (8, 0)]
)
def test_tells_each_region(client: Client, index: int, size: int) -> None:
    reply = client.call(
        Command.DEVICE_GET_REGION_INFO, protocol.REGION_INFO.pack(32, 0, index, 0, 0, 0)
    )
    assert protocol.REGION_INFO.unpack(reply) == (32, 3 if size else 0, index, 0, size, 0)


def test_offers_msix_and_nothing_else(client: Client) -> None:
    counts = []
    for index in range(5):
        reply = client.call(Command.DEVICE_GET_IRQ_INFO, protocol.IRQ_INFO.pack(16, 0, index, 0))
        counts.append(protocol.IRQ_INFO.unpack(reply)[3])
    assert counts == [0, 0, 17, 0, 0]


def test_config_space_names_the_function(client: Client) -> None:
    assert client.read(CONFIG, 0, 4) == bytes.fromhex("86804c15")
    assert client.read(CONFIG, 9, 3) == bytes.fromhex("000002")
    assert len(client.read(CONFIG, 0, 4096)) == 4096


def test_capabilities_are_chained(client: Client) -> None:
    assert [client.capability(number) for number in (1, 0x11, 0x10, 0x09)] == [
        *(0x40, 0x70, 0xA0, 0xDC)
    ]
    msix = client.read(CONFIG, 0x70, 12)
    assert struct.unpack("<HHII", msix)[1:] == (16, 3, 0x2003)
    assert client.get(0xA4, CONFIG) & 1 << 28  # function-level reset


def test_bars_tell_their_size(client: Client) -> None:
    client.write(CONFIG, 0x10, b"\xff" * 8)
    client.write(CONFIG, 0x1C, b"\xff" * 8)
    assert client.read(CONFIG, 0x10, 8) == struct.pack("<Q", (1 << 64) - 0x10000 | 0xC)
    assert client.read(CONFIG, 0x1C, 8) == struct.pack("<Q", (1 << 64) - 0x4000 | 0xC)


def test_registers_store_their_writable_bits(client: Client) -> None:
    client.put(0x2004, 0xFFFF_FFFF)
    client.put(0x8800, 0)
    client.put(0xE000, 1)
    assert client.get(0x2004) == 0x1FFF
    assert client.get(0x8800) == 2  # read-only
    assert client.get(0xE000) == 0  # there is none


def test_narrow_and_wide_accesses_see_the_same_bytes(client: Client) -> None:
    client.write(0, 0xCC00, bytes(range(1, 9)))
    client.write(0, 0xCC02, b"\xaa")
    assert client.read(0, 0xCC00, 8) == bytes.fromhex("0102aa0405060708")
    assert client.read(0, 0xCC02, 2) == bytes.fromhex("aa04")
    assert client.read(0, 0xCC03, 3) == bytes.fromhex("040506")


def test_each_access_is_counted_once(client: Client) -> None:
    client.put(0x2008, 7)
    client.put(0x2008, 8)
    client.get(0x2008)
    assert client.counts(0x2008)[:3] == (1, 2, 8)
    assert client.counts(0x2008)[:3] == (1, 2, 8)  # looking is no access
    assert client.counts(0x200C)[:3] == (0, 0, 0)
    assert client.counts(0x10000) == (0, 0, 0, 0, 0, 3)  # no such register


def test_wide_access_counts_for_each_register(client: Client) -> None:
    client.write(0, 0x2000, bytes(8))
    assert client.counts(0x2000)[1] == client.counts(0x2004)[1] == 1


def test_counts_cannot_be_written(client: Client) -> None:
    at = client.capability(0x09)
    client.put(at + 16, 99, CONFIG)
    assert client.counts(0)[1] == 0
    assert client.read(CONFIG, at + 2, 6) == b"\x24\x01VKIT"


@pytest.mark.parametrize("way", ["message", "flr"])
def test_reset_gives_reset_values_and_keeps_the_counts(client: Client, way: str) -> None:
    client.put(0x2000, 5)
    client.write(CONFIG, 4, b"\x06\x00")
    if way == "message":
        assert client.call(Command.DEVICE_RESET) == b""
    else:
        client.write(CONFIG, 0xA8, struct.pack("<H", 0x8000))
    assert (client.get(0x2000), client.get(0x8800), client.get(0x8800 - 0x400)) == (0, 2, 0)
    assert client.read(CONFIG, 4, 2) == b"\0\0"
    assert client.read(CONFIG, 0xA8, 2) == b"\x10\x28"
    assert client.counts(0x2000)[:4] == (1, 1, 0, 1)


def test_power_state_is_kept(client: Client) -> None:
    client.put(0x2000, 5)
    client.write(CONFIG, 0x44, b"\x03\x00")
    assert client.read(CONFIG, 0x44, 2) == b"\x0b\x00"
    client.write(CONFIG, 0x44, b"\x00\x00")
    assert client.get(0x2000) == 5


def test_admin_queue_moves_only_while_it_is_enabled(client: Client) -> None:
    client.put(0x8400, 3)
    assert client.get(0x6400) == 0
    client.put(0x6800, 0x8000_0020)
    assert client.get(0x6400) == 3
    client.put(0x8400, 4)
    assert client.get(0x6400) == 4


def test_software_interrupt_reaches_its_eventfd(client: Client) -> None:
    event = os.eventfd(0, os.EFD_NONBLOCK)
    client.irqs(ATTACH, 2, 1, [event])
    client.put(0x3804, 1 | 1 << 2)
    assert os.eventfd_read(event) == 1
    assert client.get(0x3804) == 1  # the trigger reads as zero
    client.put(0x3804, 1 << 2)  # not enabled
    with pytest.raises(BlockingIOError):
        os.eventfd_read(event)
    os.close(event)


def test_interrupt_without_eventfd_is_pending_until_there_is_one(client: Client) -> None:
    client.put(0x5C00, 1 | 1 << 2)
    assert client.get(0x2000, region=3) == 1
    event = os.eventfd(0, os.EFD_NONBLOCK)
    client.irqs(ATTACH, 0, 1, [event])
    assert os.eventfd_read(event) == 1
    assert client.get(0x2000, region=3) == 0
    os.close(event)


def test_client_can_trigger_and_disconnect_interrupts(client: Client) -> None:
    event = os.eventfd(0, os.EFD_NONBLOCK)
    client.irqs(ATTACH, 0, 1, [event])
    client.irqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1)
    assert os.eventfd_read(event) == 1
    client.irqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0)
    client.irqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(event)
    os.close(event)


def test_eventfds_are_closed_with_the_connection() -> None:
    ours, theirs = socket.socketpair()
    before = set(Path("/proc/self/fd").iterdir())
    client = Client(ours)
    session = Session(Connection(theirs), I40eVirtualFunction())
    event = os.eventfd(0)
    client.send(Command.VERSION, protocol.VERSION.pack(0, 0))
    head = protocol.IRQ_SET.pack(20, ATTACH, VFIO_PCI_MSIX_IRQ_INDEX, 0, 2)
    client.send(Command.DEVICE_SET_IRQS, head, [event, event])
    client.send(Command.DEVICE_SET_IRQS, head, [event])  # refused: two vectors, one file
    os.close(event)
    ours.shutdown(socket.SHUT_WR)
    session.run()
    assert set(Path("/proc/self/fd").iterdir()) == before
    ours.close()
    theirs.close()


def test_posted_writes_get_no_answer(client: Client) -> None:
    head = protocol.REGION_ACCESS.pack(0x2000, 0, 4)
    client.send(Command.REGION_WRITE, head + b"\x09\0\0\0", flags=protocol.FLAG_NO_REPLY)
    assert client.get(0x2000) == 9


def test_dma_ranges_do_not_overlap(client: Client) -> None:
    layout = protocol.DMA_MAP
    with Path("/dev/zero").open("rb") as file:
        client.call(Command.DMA_MAP, layout.pack(32, 3, 0, 0x1000, 0x2000), [file.fileno()])
    with pytest.raises(RefusalError, match="EEXIST"):
        client.call(Command.DMA_MAP, layout.pack(32, 3, 0, 0x2000, 0x1000))
    request = protocol.DMA_UNMAP.pack(24, 0, 0, 0x10000)
    assert client.call(Command.DMA_UNMAP, request) == request
    client.call(Command.DMA_MAP, layout.pack(32, 3, 0, 0x2000, 0x1000))


@pytest.mark.parametrize(
    ("command", "payload", "error"),
    [
        (Command.REGION_READ, protocol.REGION_ACCESS.pack(0xFFFE, 0, 4), "EINVAL"),
        (Command.REGION_READ, protocol.REGION_ACCESS.pack(0, 1, 1), "EINVAL"),
        (Command.REGION_READ, protocol.REGION_ACCESS.pack(0, 99, 1), "EINVAL"),
        (Command.REGION_READ, protocol.REGION_ACCESS.pack(0, 0, 1 << 31), "EINVAL"),
        (Command.REGION_WRITE, protocol.REGION_ACCESS.pack(0, 0, 4) + b"ab", "EINVAL"),
        (Command.REGION_READ, b"short", "EINVAL"),
        (Command.DEVICE_GET_REGION_INFO, protocol.REGION_INFO.pack(32, 0, 9, 0, 0, 0), "EINVAL"),
        (Command.DEVICE_GET_IRQ_INFO, protocol.IRQ_INFO.pack(16, 0, 5, 0), "EINVAL"),
        (Command.DEVICE_SET_IRQS, protocol.IRQ_SET.pack(20, ATTACH, 2, 17, 1), "EINVAL"),
        (Command.DEVICE_SET_IRQS, protocol.IRQ_SET.pack(20, ATTACH, 0, 0, 1), "EINVAL"),
        (Command.DEVICE_SET_IRQS, protocol.IRQ_SET.pack(20, 1 << 3, 2, 0, 1), "EINVAL"),
        (Command.DEVICE_GET_REGION_IO_FDS, bytes(16), "ENOTSUP"),
        (4711, b"", "ENOTSUP"),
    ],
)
def test_bad_requests_are_refused(client: Client, command: int, payload: bytes, error: str) -> None:
    with pytest.raises(RefusalError, match=error):
        client.call(command, payload)
    assert client.get(0x8800) == 2  # and it goes on


@pytest.mark.parametrize(
    "message",
    [
        HEADER.pack(1, Command.REGION_READ, 15, 0, 0),  # shorter than its header
        HEADER.pack(1, Command.REGION_READ, 1 << 30, 0, 0),  # longer than any
        HEADER.pack(1, Command.REGION_READ, 16, protocol.TYPE_REPLY, 0),  # not a request
        HEADER.pack(1, Command.VERSION, 20, 0, 0) + protocol.VERSION.pack(9, 0),  # other version
    ],
)
def test_nonsense_closes_the_connection(client: Client, message: bytes) -> None:
    client.sock.sendall(message)
    assert client.sock.recv(1) == b""
    assert [type(error).__name__ for error in client.errors] == ["ProtocolError"]


def test_disconnection_inside_a_message_is_noticed(client: Client) -> None:
    client.sock.sendall(HEADER.pack(1, Command.REGION_READ, 32, 0, 0) + b"abc")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.sock.recv(1) == b""
    assert [type(error).__name__ for error in client.errors] == ["DisconnectedError"]


def test_socket_appears_when_it_listens(tmp_path: Path) -> None:
    path = tmp_path / "function"
    with listen(path), socket.socket(socket.AF_UNIX) as client:
        assert [entry.name for entry in tmp_path.iterdir()] == ["function"]
        client.connect(str(path))
