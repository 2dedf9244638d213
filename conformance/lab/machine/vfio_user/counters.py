# SPDX-License-Identifier: GPL-2.0-only
"""A test hook: lets the guest see how often each register was accessed.

It is a vendor-specific capability in config space. There it costs no register and no BAR, so what
a driver sees of the device stays what the hardware has; the counts are read without an access to
a BAR; every driver passes config space on; and on hardware, which has no such capability, a test
finds that out by looking. A control socket would have needed a channel of its own into the guest.

Offsets from the capability's start, all little-endian:

====  =====  ==================================================================================
   0  u8     0x09, vendor-specific
   1  u8     next capability
   2  u8     length of the capability, 36
   3  u8     version of this layout, 1
   4  u8*4   "VKIT", its vendor's signature
   8  u32    select: index of a BAR in bits 28-31, offset of a 4-byte register in the others.
             Writing its last byte latches all that follow, which are read-only
  12  u32    read accesses that touched the register
  16  u32    write accesses that touched it
  20  u32    its value, which this does not count as an access
  24  u32    resets of the function, of any kind
  28  u32    interrupts that were signalled
  32  u32    all accesses to BARs, registers one by one
====  =====  ==================================================================================

All counts are since the server's start, modulo 2**32. No reset clears them, only the selection.
"""

from __future__ import annotations

from conformance.lab.machine.vfio_user.function import PciFunction
from conformance.lab.machine.vfio_user.registers import WIDTH

VERSION = 1
SIGNATURE = b"VKIT"
LENGTH = 36

_SELECT = 8
_LATCHED = 12


class AccessCounters:
    """The capability of one function.

    Args:
        function: Whose accesses it shows.
        at: Where in config space it is.
    """

    def __init__(self, function: PciFunction, at: int) -> None:
        self._function = function
        self._at = at
        body = bytes([VERSION]) + SIGNATURE
        function.config.add_vendor(
            at, body.ljust(LENGTH - 3, b"\0"), writable=range(_SELECT, _LATCHED)
        )
        function.config.watch(at + _LATCHED - 1, self._latch)

    def _latch(self) -> None:
        function = self._function
        bar, offset = divmod(function.config.get(self._at + _SELECT), 1 << 28)
        registers = function.bars.get(bar)
        if registers is None or offset >= registers.size:
            reads = writes = value = 0
        else:
            word = offset // WIDTH
            reads, writes = registers.reads[word], registers.writes[word]
            value = registers.peek(offset)
        total = sum(sum(each.reads) + sum(each.writes) for each in function.bars.values())
        latched = (
            *(reads, writes, value),
            *(function.resets, function.interrupts.signalled, total),
        )
        for number, content in enumerate(latched):
            function.config.set(self._at + _LATCHED + 4 * number, content)
