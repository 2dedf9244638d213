# SPDX-License-Identifier: GPL-2.0-only
"""The virtual function of the Intel Ethernet 700 series, 8086:154c.

Offsets and bits are those of the XL710 data sheet. What the model does beyond storing:

- The admin send queue consumes what it is given: while it is enabled its head follows its tail.
  No descriptor is read and none is answered, as there is no physical function. With descriptors
  left, once its head was written, it cannot be disabled: a queue that takes its time.
- A software interrupt that is triggered on a vector whose interrupts are enabled is signalled.
- A reset ends at once, with VFGEN_RSTAT telling that the function is active.
- The admin receive queue is filled at the rate that a test asks for, see `receive`.

Packets are neither sent nor received: the tails of the data queues are stored, and counted like
every access.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from conformance.lab.machine.vfio_user.config import ConfigSpace
from conformance.lab.machine.vfio_user.counters import AccessCounters
from conformance.lab.machine.vfio_user.function import PciFunction
from conformance.lab.machine.vfio_user.interrupts import Interrupts
from conformance.lab.machine.vfio_user.receive import ReceiveEngine, Ring
from conformance.lab.machine.vfio_user.registers import WIDTH, Register, RegisterFile
from conformance.lab.machine.vfio_user.traffic import Traffic

VENDOR = 0x8086
DEVICE = 0x154C
_ETHERNET = 0x020000

VECTORS = 17
"""One for the admin queue and other causes, one for each queue pair."""

_QUEUES = 16
_TAIL = 0x1FFF
_ADMIN_INDEX = 0x3FF
_ADMIN_LENGTH = 0xF000_03FF  # enable, critical, overflow and VF error; number of descriptors
_ADMIN_BASE = 0xFFFF_FFC0
_ENABLE = 1 << 31
_CRITICAL = 1 << 30

ARQBAH1, ARQBAL1, ARQLEN1, ARQH1, ARQT1 = 0x6000, 0x6C00, 0x8000, 0x7400, 0x7000
ATQH1, ATQLEN1, ATQT1 = 0x6400, 0x6800, 0x8400
DYN_CTL01, DYN_CTLN1 = 0x5C00, 0x3800
RSTAT = 0x8800
_ACTIVE = 2

_INTENA = 1 << 0
_CLEARPBA = 1 << 1
_SWINT_TRIG = 1 << 2
_INTENA_MSK = 1 << 31  # INTENA is not to be changed by this write
_DYN_CTL = 0x0701_FFF8  # index and interval, software interrupt's index and its enable
_DYN_CTLN = _DYN_CTL | 1 << 30  # write back on throttling

REGISTERS = (
    Register("QTX_TAIL1", 0x0000, _QUEUES, _TAIL),
    Register("QRX_TAIL1", 0x2000, _QUEUES, _TAIL),
    Register("VFINT_ITRN1", 0x2800, 48, 0xFFF),
    Register("VFINT_DYN_CTLN1", DYN_CTLN1, _QUEUES, _DYN_CTLN),
    Register("VFINT_ITR01", 0x4C00, 3, 0xFFF),
    Register("VFINT_ICR0_ENA1", 0x5000, 1, 0xC200_0000),
    Register("VFINT_STAT_CTL01", 0x5400, 1, 0xC),
    Register("VFINT_DYN_CTL01", DYN_CTL01, 1, _DYN_CTL),
    Register("ARQBAH1", ARQBAH1),
    Register("ATQH1", ATQH1, 1, _ADMIN_INDEX),
    Register("ATQLEN1", ATQLEN1, 1, _ADMIN_LENGTH),
    Register("ARQBAL1", ARQBAL1, 1, _ADMIN_BASE),
    Register("ARQT1", ARQT1, 1, _ADMIN_INDEX),
    Register("ARQH1", ARQH1, 1, _ADMIN_INDEX),
    Register("ATQBAH1", 0x7800),
    Register("ATQBAL1", 0x7C00, 1, _ADMIN_BASE),
    Register("ARQLEN1", ARQLEN1, 1, _ADMIN_LENGTH),
    Register("ATQT1", ATQT1, 1, _ADMIN_INDEX),
    Register("VFGEN_RSTAT", RSTAT, 1, 0, _ACTIVE),
    Register("VFQF_HENA", 0xC400, 2),
    Register("VFQF_HKEY", 0xCC00, 13),
    Register("VFQF_HLUT", 0xD000, 16, 0x0F0F_0F0F),
    Register("VFQF_HREGION", 0xD400, 8, 0xFFFF_FFFF),
)

_PBA = 0x2000
_TABLE = tuple(
    register
    for vector in range(VECTORS)
    for register in (
        Register("MSIXTADD", 16 * vector, 3),
        Register("MSIXTVCTRL", 16 * vector + 12, 1, 1, 1),
    )
)


class I40eVirtualFunction(PciFunction):
    """One function, as it is after power-on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._registers = RegisterFile(0x10000, REGISTERS)
        self._sending = False
        msix = RegisterFile(0x4000, _TABLE)
        space = ConfigSpace(VENDOR, DEVICE, class_code=_ETHERNET, revision=2)
        super().__init__(space, {0: self._registers, 3: msix}, Interrupts(VECTORS))
        space.add_power_management(0x40)
        space.add_msix(0x70, VECTORS, bar=3, table=0, pba=_PBA)
        space.add_express(0xA0, self.reset)
        AccessCounters(self, 0xDC)
        self._engine = ReceiveEngine(self.memory, self._ring, self._advance, self._fail, clock)
        Traffic(space, self._engine, 0x7C)
        self._registers.on_write(self._written)
        self.interrupts.on_pending(lambda pending: msix.poke(_PBA, pending))

    def reset(self) -> None:
        """Reset it; no buffer is filled until a rate is set again."""
        self._sending = False
        super().reset()
        self._engine.set_rate(0)

    def pause(self) -> float | None:
        """Return the seconds until a buffer is due."""
        return self._engine.pause()

    def run(self) -> None:
        """Fill the buffers that are due."""
        self._engine.run()

    def _ring(self) -> Ring | None:
        registers = self._registers
        if not (registers.peek(ARQLEN1) & _ENABLE and self.config.masters):
            return None
        return Ring(
            base=registers.peek(ARQBAH1) << 32 | registers.peek(ARQBAL1),
            length=registers.peek(ARQLEN1) & _ADMIN_INDEX,
            head=registers.peek(ARQH1),
            tail=registers.peek(ARQT1),
        )

    def _advance(self, head: int) -> None:
        self._registers.poke(ARQH1, head)

    def _fail(self) -> None:
        length = self._registers.peek(ARQLEN1)
        self._registers.poke(ARQLEN1, length & ~_ENABLE | _CRITICAL)

    def _written(self, offset: int, value: int) -> None:
        if offset == ATQT1:
            self._consume()
        elif offset == ATQLEN1:
            self._switch(value)
        elif offset == DYN_CTL01:
            self._control(0, offset, value)
        elif DYN_CTLN1 <= offset < DYN_CTLN1 + _QUEUES * WIDTH:
            self._control(1 + (offset - DYN_CTLN1) // WIDTH, offset, value)

    def _switch(self, value: int) -> None:
        left = self._registers.peek(ATQH1) != self._registers.peek(ATQT1)
        if self._sending and left and not value & _ENABLE:
            self._registers.poke(ATQLEN1, value & _ADMIN_LENGTH | _ENABLE)
        else:
            self._sending = bool(value & _ENABLE)
            self._consume()

    def _consume(self) -> None:
        if self._registers.peek(ATQLEN1) & _ENABLE:
            self._registers.poke(ATQH1, self._registers.peek(ATQT1))

    def _control(self, vector: int, offset: int, value: int) -> None:
        stored = self._registers.peek(offset)
        if not value & _INTENA_MSK:
            stored = stored & ~_INTENA | value & _INTENA
            self._registers.poke(offset, stored)
        if value & _CLEARPBA:
            self.interrupts.clear_pending(vector)
        if value & _SWINT_TRIG and stored & _INTENA:
            self.interrupts.raise_(vector)
