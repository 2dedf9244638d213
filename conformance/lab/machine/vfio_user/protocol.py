# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and layouts of the vfio-user protocol, version 0.

All numbers are in the byte order of the host; nothing is padded. Flags and indexes of regions and
interrupts are those of ``linux/vfio.h``, in `conformance.uapi.constants`. Source: QEMU's
``docs/interop/vfio-user.rst``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAJOR: Final = 0
MINOR: Final = 0

TYPE_MASK: Final = 0xF
TYPE_COMMAND: Final = 0x0
TYPE_REPLY: Final = 0x1
FLAG_NO_REPLY: Final = 0x10
FLAG_ERROR: Final = 0x20

MAX_FDS: Final = 8
"""File descriptors in one message that we take; QEMU's own default."""

MAX_TRANSFER: Final = 1 << 20
"""Bytes of data in one message; the protocol's default."""

MAX_MAPS: Final = 65535
"""DMA ranges at a time; the protocol's default."""

PAGE_SIZES: Final = 4096
"""Page sizes of DMA ranges, or'ed."""

HEADER: Final = struct.Struct("=HHIII")  # id, command, size of all, flags, errno
VERSION: Final = struct.Struct("=HH")  # major, minor; JSON follows
DMA_MAP: Final = struct.Struct("=IIQQQ")  # argsz, flags, offset in the file, address, size
DMA_UNMAP: Final = struct.Struct("=IIQQ")  # argsz, flags, address, size
DEVICE_INFO: Final = struct.Struct("=IIII")  # argsz, flags, regions, interrupt types
REGION_INFO: Final = struct.Struct("=IIIIQQ")  # argsz, flags, index, cap_offset, size, offset
IRQ_INFO: Final = struct.Struct("=IIII")  # argsz, flags, index, count
IRQ_SET: Final = struct.Struct("=IIIII")  # argsz, flags, index, start, count; booleans follow
REGION_ACCESS: Final = struct.Struct("=QII")  # offset, region, count; data follow

MAX_MESSAGE: Final = HEADER.size + REGION_ACCESS.size + MAX_TRANSFER


class Command(IntEnum):
    """Requests, all from the client."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DEVICE_RESET = 13


@dataclass(frozen=True)
class Message:
    """A request as it came.

    Attributes:
        id: Chosen by the client, repeated in the reply.
        command: One of `Command`, or a number that we do not know.
        flags: Type and `FLAG_NO_REPLY`.
        payload: What follows the header.
        fds: File descriptors that came with it; they belong to who handles the message.
    """

    id: int
    command: int
    flags: int = TYPE_COMMAND
    payload: bytes = b""
    fds: tuple[int, ...] = ()

    @property
    def wants_reply(self) -> bool:
        """Whether the client waits for an answer."""
        return not self.flags & FLAG_NO_REPLY
