# SPDX-License-Identifier: GPL-2.0-only
"""One client: receives whole messages with their file descriptors, sends whole replies."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterable

from conformance.lab.machine.vfio_user import protocol
from conformance.lab.machine.vfio_user.errors import DisconnectedError, ProtocolError
from conformance.lab.machine.vfio_user.protocol import HEADER, Message


class Connection:
    """The server's end of a stream socket to one client."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def wait(self, seconds: float | None) -> bool:
        """Wait for a request, or for so long; return whether one came, or the client went."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def receive(self) -> Message | None:
        """Return the next request, or None after the last one.

        Raises:
            ProtocolError: What came is not a request.
        """
        # The descriptors of a message travel with its first byte.
        raw, fds, flags, _ = socket.recv_fds(
            self._socket, HEADER.size, protocol.MAX_FDS, socket.MSG_CMSG_CLOEXEC
        )
        try:
            if not raw:
                return None
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError(f"A message came with more than {protocol.MAX_FDS} files.")
            raw += self._exactly(HEADER.size - len(raw))
            number, command, size, flags, _error = HEADER.unpack(raw)
            if flags & protocol.TYPE_MASK != protocol.TYPE_COMMAND:
                raise ProtocolError(f"Message {number} is not a request: flags {flags:#x}.")
            if not HEADER.size <= size <= protocol.MAX_MESSAGE:
                raise ProtocolError(f"Message {number} says it has {size} bytes.")
            payload = self._exactly(size - HEADER.size)
        except BaseException:
            close_all(fds)
            raise
        return Message(number, command, flags, payload, tuple(fds))

    def reply(self, request: Message, payload: bytes = b"") -> None:
        """Answer a request, if it wants an answer."""
        self._send(request, protocol.TYPE_REPLY, 0, payload)

    def refuse(self, request: Message, errno: int) -> None:
        """Answer a request with an error, if it wants an answer."""
        self._send(request, protocol.TYPE_REPLY | protocol.FLAG_ERROR, errno, b"")

    def _send(self, request: Message, flags: int, errno: int, payload: bytes) -> None:
        if request.wants_reply:
            size = HEADER.size + len(payload)
            header = HEADER.pack(request.id, request.command, size, flags, errno)
            self._socket.sendall(header + payload)  # in one piece: QEMU wants a header whole

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._socket.recv(count)
            if not part:
                raise DisconnectedError(
                    f"The client went away {count} bytes before a message's end."
                )
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def close_all(fds: Iterable[int]) -> None:
    """Close file descriptors."""
    for fd in fds:
        os.close(fd)
