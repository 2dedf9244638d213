# SPDX-License-Identifier: GPL-2.0-only
"""A test hook: lets the guest start the receive engine, and see what it wrote and when.

Like the counts of accesses it is a vendor-specific capability in config space, for the same
reasons. Offsets from the capability's start, all little-endian:

====  =====  ==================================================================================
   0  u8     0x09, vendor-specific
   1  u8     next capability
   2  u8     length of the capability, 36
   3  u8     version of this layout, 1
   4  u8*4   "VKTR", its vendor's signature
   8  u32    rate: buffers that are filled in a second; a reset of the function clears it.
             Writing its last byte sets it
  12  u32    select: the number of a write, from 0. Writing its last byte latches all that
             follow, which are read-only
  16  u32    writes: buffers that were filled since the server's start, modulo 2**32
  20  u32    accesses to memory that was not mapped
  24  u32    of the selected write: its IOVA in pages of 4096 bytes
  28  u32    its size in bytes; 0 if there is no such write, or none any more
  32  u32    when, in milliseconds since the server's start, modulo 2**32
====  =====  ==================================================================================
"""

from __future__ import annotations

from conformance.lab.machine.vfio_user.config import ConfigSpace
from conformance.lab.machine.vfio_user.receive import ReceiveEngine

VERSION = 1
SIGNATURE = b"VKTR"
LENGTH = 36

_RATE = 8
_SELECT = 12
_LATCHED = 16


class Traffic:
    """The capability of one function; `at` is where in config space it is."""

    def __init__(self, space: ConfigSpace, engine: ReceiveEngine, at: int) -> None:
        self._space = space
        self._engine = engine
        self._at = at
        body = bytes([VERSION]) + SIGNATURE
        space.add_vendor(at, body.ljust(LENGTH - 3, b"\0"), writable=range(_RATE, _LATCHED))
        space.watch(at + _SELECT - 1, self._set_rate)
        space.watch(at + _LATCHED - 1, self._latch)

    def _set_rate(self) -> None:
        self._engine.set_rate(self._space.get(self._at + _RATE))

    def _latch(self) -> None:
        engine = self._engine
        write = engine.write_of(self._space.get(self._at + _SELECT))
        chosen = (write.iova >> 12, write.size, write.when) if write else (0, 0, 0)
        for number, content in enumerate((engine.count, engine.faults, *chosen)):
            self._space.set(self._at + _LATCHED + 4 * number, content)
