# SPDX-License-Identifier: GPL-2.0-only
"""Serves a function to one client after the other, as the protocol wants it.

All that a function does by itself it does between two requests, in the same thread.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Any

from conformance.lab.machine.vfio_user import protocol
from conformance.lab.machine.vfio_user.connection import Connection, close_all
from conformance.lab.machine.vfio_user.errors import ProtocolError, RefusedError
from conformance.lab.machine.vfio_user.function import PciFunction
from conformance.lab.machine.vfio_user.protocol import Command, Message
from conformance.uapi.constants import (
    VFIO_DEVICE_FLAGS_PCI,
    VFIO_DEVICE_FLAGS_RESET,
    VFIO_DMA_UNMAP_FLAG_ALL,
    VFIO_IRQ_INFO_EVENTFD,
    VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_NUM_IRQS,
    VFIO_PCI_NUM_REGIONS,
    VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE,
)

logger = logging.getLogger(__name__)


def listen(path: Path) -> socket.socket:
    """Return a listening socket at `path`, which appears there only once it does.

    Raises:
        OSError: The socket cannot be made there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    early = path.with_name(path.name + ".new")
    early.unlink(missing_ok=True)
    listener.bind(str(early))
    listener.listen(1)
    early.rename(path)
    return listener


def serve(listener: socket.socket, function: PciFunction) -> None:
    """Serve clients, one after the other, for ever. The function's state outlives each."""
    while True:
        client, _ = listener.accept()
        logger.info("A client connects.")
        with client:
            try:
                Session(Connection(client), function).run()
                logger.info("The client is gone.")
            except (ProtocolError, OSError) as error:
                logger.error("The connection is closed: %s", error)


class Session:
    """What one client asks for, from its first message to its last."""

    def __init__(self, connection: Connection, function: PciFunction) -> None:
        self._connection = connection
        self._function = function
        self._handlers: dict[int, Callable[[Message], bytes]] = {
            Command.VERSION: self._version,
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._device_info,
            Command.DEVICE_GET_REGION_INFO: self._region_info,
            Command.DEVICE_GET_IRQ_INFO: self._irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._read,
            Command.REGION_WRITE: self._write,
            Command.DEVICE_RESET: self._reset,
        }

    def run(self) -> None:
        """Answer requests until the client closes the connection.

        Raises:
            ProtocolError: What came is not a request, or the first one is not VERSION.
        """
        try:
            first = True
            while message := self._next():
                if first and message.command != Command.VERSION:
                    close_all(message.fds)
                    raise ProtocolError(f"The first request is {message.command}, not VERSION.")
                first = False
                self._answer(message)
        finally:
            self._function.interrupts.disconnect()
            self._function.memory.clear()

    def _next(self) -> Message | None:
        """Return the next request; let the function go on until it comes."""
        self._function.run()
        while not self._connection.wait(self._function.pause()):
            self._function.run()
        return self._connection.receive()

    def _answer(self, message: Message) -> None:
        handler = self._handlers.get(message.command, self._unknown)
        try:
            payload = handler(message)
        except RefusedError as refusal:
            logger.warning("Request %s is refused: %s.", _name(message.command), refusal)
            close_all(message.fds)
            self._connection.refuse(message, refusal.errno)
        else:
            self._connection.reply(message, payload)

    def _version(self, message: Message) -> bytes:
        major, minor, *_ = _unpack(protocol.VERSION, message)
        if major != protocol.MAJOR:
            raise ProtocolError(f"The client speaks version {major}.{minor}.")
        capabilities = {
            "max_msg_fds": protocol.MAX_FDS,
            "max_data_xfer_size": protocol.MAX_TRANSFER,
            "max_dma_maps": protocol.MAX_MAPS,
            "pgsizes": protocol.PAGE_SIZES,
        }
        text = json.dumps({"capabilities": capabilities}).encode() + b"\0"
        return protocol.VERSION.pack(protocol.MAJOR, protocol.MINOR) + text

    def _dma_map(self, message: Message) -> bytes:
        _argsz, flags, offset, address, size = _unpack(protocol.DMA_MAP, message)
        fd = message.fds[0] if message.fds else None
        self._function.memory.map(address, size, flags, offset, fd)
        close_all(message.fds)
        return b""

    def _dma_unmap(self, message: Message) -> bytes:
        argsz, flags, address, size = _unpack(protocol.DMA_UNMAP, message)
        if flags & VFIO_DMA_UNMAP_FLAG_ALL:
            self._function.memory.clear()
        # The protocol wants one whole range; QEMU, with an IOMMU in the guest, unmaps many at once.
        self._function.memory.unmap(address, size)
        return protocol.DMA_UNMAP.pack(argsz, flags, address, size)

    def _device_info(self, message: Message) -> bytes:
        _unpack(protocol.DEVICE_INFO, message)
        return protocol.DEVICE_INFO.pack(
            protocol.DEVICE_INFO.size,
            VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
            VFIO_PCI_NUM_REGIONS,
            VFIO_PCI_NUM_IRQS,
        )

    def _region_info(self, message: Message) -> bytes:
        _argsz, _flags, index, *_ = _unpack(protocol.REGION_INFO, message)
        size = self._function.size(index)
        # Never mappable: each access is a message, and so is seen, counted and in order.
        flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE if size else 0
        return protocol.REGION_INFO.pack(protocol.REGION_INFO.size, flags, index, 0, size, 0)

    def _irq_info(self, message: Message) -> bytes:
        _argsz, _flags, index, _count = _unpack(protocol.IRQ_INFO, message)
        if index >= VFIO_PCI_NUM_IRQS:
            raise RefusedError(errno.EINVAL, f"there is no interrupt type {index}")
        msix = index == VFIO_PCI_MSIX_IRQ_INDEX
        flags = VFIO_IRQ_INFO_EVENTFD if msix else 0
        count = self._function.interrupts.count if msix else 0
        return protocol.IRQ_INFO.pack(protocol.IRQ_INFO.size, flags, index, count)

    def _set_irqs(self, message: Message) -> bytes:
        _argsz, flags, index, start, count = _unpack(protocol.IRQ_SET, message)
        if index != VFIO_PCI_MSIX_IRQ_INDEX:
            raise RefusedError(errno.EINVAL, f"the function has no interrupts of type {index}")
        data = message.payload[protocol.IRQ_SET.size :]
        self._function.interrupts.set(flags, start, count, data, message.fds)
        return b""

    def _read(self, message: Message) -> bytes:
        offset, region, count = _unpack(protocol.REGION_ACCESS, message)
        if count > protocol.MAX_TRANSFER:
            raise RefusedError(errno.EINVAL, f"{count} bytes at once")
        data = self._function.read(region, offset, count)
        logger.debug("region %d, %#x: read %s", region, offset, data[:8].hex())
        return protocol.REGION_ACCESS.pack(offset, region, count) + data

    def _write(self, message: Message) -> bytes:
        offset, region, count = _unpack(protocol.REGION_ACCESS, message)
        data = message.payload[protocol.REGION_ACCESS.size :]
        if len(data) != count:
            raise RefusedError(errno.EINVAL, f"{len(data)} bytes came, {count} were announced")
        logger.debug("region %d, %#x: write %s", region, offset, data[:8].hex())
        self._function.write(region, offset, data)
        return protocol.REGION_ACCESS.pack(offset, region, count)

    def _reset(self, _message: Message) -> bytes:
        self._function.reset()
        return b""

    def _unknown(self, message: Message) -> bytes:
        raise RefusedError(errno.ENOTSUP, f"command {message.command} is not supported")


def _unpack(layout: Struct, message: Message) -> tuple[Any, ...]:
    if len(message.payload) < layout.size:
        raise RefusedError(
            errno.EINVAL,
            f"{_name(message.command)} needs {layout.size} bytes, {len(message.payload)} came",
        )
    return layout.unpack_from(message.payload)


def _name(command: int) -> str:
    with contextlib.suppress(ValueError):
        return Command(command).name
    return str(command)
