# SPDX-License-Identifier: GPL-2.0-only
"""The config space of a PCI Express endpoint, with its capabilities.

Offsets, ids and bits are those of the PCI Local Bus and PCI Express base specifications.
"""

from __future__ import annotations

from collections.abc import Callable

SIZE = 4096

_COMMAND = 0x04
_BUS_MASTER = 0x0004
_STATUS_CAPABILITIES = 0x0010
_BARS = 0x10
_CAPABILITIES = 0x34
_BAR_64BIT_PREFETCHABLE = 0xC

_ID_POWER = 0x01
_ID_VENDOR = 0x09
_ID_EXPRESS = 0x10
_ID_MSIX = 0x11

_DEVCAP = 0x10008022  # function-level reset, role-based errors, extended tags, payload of 512
_DEVCTL_RESET = 0x2810  # no-snoop, relaxed ordering, read requests of 512
_INITIATE_FLR = 0x8000
_POWER_STATE = 0x0003
_LINK = 0x0083  # 8 lanes of 8 GT/s


class ConfigSpace:
    """Bytes, which of their bits a write changes, and what happens then."""

    def __init__(self, vendor: int, device: int, *, class_code: int, revision: int) -> None:
        self._bytes = bytearray(SIZE)
        self._writable = bytearray(SIZE)
        self._last = 0  # the capability to which the next one is chained
        self._reset_asked: Callable[[], None] = lambda: None
        self._devctl = SIZE  # nowhere
        self._pmcsr: int | None = None
        self._watched: dict[int, Callable[[], None]] = {}
        self._put(0x00, 2, vendor)
        self._put(0x02, 2, device)
        self._put(_COMMAND, 2, 0, writable=0x0406)  # memory, bus master, INTx disable
        self._put(0x06, 2, _STATUS_CAPABILITIES)
        self._put(0x08, 1, revision)
        self._put(0x09, 3, class_code)
        self._put(0x0C, 1, 0, writable=0xFF)  # cache line size
        self._put(0x2C, 2, vendor)  # subsystem
        self._put(0x3C, 1, 0, writable=0xFF)  # interrupt line
        self._initial = bytes(self._bytes)

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes."""
        return bytes(self._bytes[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes: the writable bits change, then what depends on them happens."""
        for at, value in enumerate(data, offset):
            mask = self._writable[at]
            self._bytes[at] = (self._bytes[at] & ~mask) | (value & mask)
        touched = range(offset, offset + len(data))
        # The bit reads as zero, so it is none of the writable ones.
        control = self._devctl + 1
        if control in touched and data[control - offset] << 8 & _INITIATE_FLR:
            self._reset_asked()
        for at, call in self._watched.items():
            if at in touched:
                call()

    def get(self, offset: int) -> int:
        """Return the 4 bytes at an offset."""
        return int.from_bytes(self._bytes[offset : offset + 4], "little")

    def set(self, offset: int, value: int) -> None:
        """Set 4 bytes as the hardware itself does."""
        self._bytes[offset : offset + 4] = (value & 0xFFFF_FFFF).to_bytes(4, "little")

    @property
    def awake(self) -> bool:
        """Whether the function is in D0: in D3hot it answers to its config space only."""
        return self._pmcsr is None or not self._bytes[self._pmcsr] & _POWER_STATE

    @property
    def masters(self) -> bool:
        """Whether the function may access memory: it has bus master and is in D0."""
        return self.awake and bool(self._bytes[_COMMAND] & _BUS_MASTER)

    def watch(self, offset: int, call: Callable[[], None]) -> None:
        """Call `call` when the byte at an offset is written."""
        self._watched[offset] = call

    def reset(self) -> None:
        """Give everything its reset value."""
        self._bytes[:] = self._initial

    def add_bar(self, index: int, size: int) -> None:
        """Add a 64-bit prefetchable memory BAR; it takes that index and the next one."""
        at = _BARS + 4 * index
        self._put(at, 8, _BAR_64BIT_PREFETCHABLE, writable=~(size - 1) & (1 << 64) - 1)

    def add_power_management(self, at: int) -> None:
        """Add the capability: states D0 and D3hot, which keeps the registers."""
        self._capability(_ID_POWER, at)
        self._put(at + 2, 2, 0x0003)  # version 3
        self._put(at + 4, 2, 0x0008, writable=_POWER_STATE)  # no soft reset
        self._pmcsr = at + 4

    def add_msix(self, at: int, vectors: int, *, bar: int, table: int, pba: int) -> None:
        """Add the capability; `table` and `pba` are offsets in the BAR."""
        self._capability(_ID_MSIX, at)
        self._put(at + 2, 2, vectors - 1, writable=0xC000)
        self._put(at + 4, 4, table | bar)
        self._put(at + 8, 4, pba | bar)

    def add_express(self, at: int, reset: Callable[[], None]) -> None:
        """Add the capability of an endpoint; `reset` is called for a function-level reset."""
        self._capability(_ID_EXPRESS, at)
        self._put(at + 2, 2, 0x0002)  # version 2, endpoint
        self._put(at + 4, 4, _DEVCAP)
        self._put(at + 8, 2, _DEVCTL_RESET, writable=0x7FFF)
        self._put(at + 0x0C, 4, _LINK)
        self._put(at + 0x12, 2, _LINK)
        self._put(at + 0x24, 4, 0x001F)  # completion timeout can be set and disabled
        self._put(at + 0x28, 2, 0, writable=0x001F)
        self._devctl = at + 8
        self._reset_asked = reset

    def add_vendor(self, at: int, body: bytes, *, writable: range = range(0)) -> None:
        """Add a vendor-specific capability; `writable` are offsets from the capability's start."""
        self._capability(_ID_VENDOR, at)
        self._put(at + 2, 1, 3 + len(body))
        self._put(at + 3, len(body), int.from_bytes(body, "little"))
        for offset in writable:
            self._writable[at + offset] = 0xFF

    def _capability(self, number: int, at: int) -> None:
        self._put(at, 2, number)
        self._put(self._last + 1 if self._last else _CAPABILITIES, 1, at)
        self._last = at

    def _put(self, offset: int, count: int, value: int, *, writable: int = 0) -> None:
        self._bytes[offset : offset + count] = value.to_bytes(count, "little")
        self._writable[offset : offset + count] = writable.to_bytes(count, "little")
        self._initial = bytes(self._bytes)
