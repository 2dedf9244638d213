# SPDX-License-Identifier: GPL-2.0-only
"""What the operator declares of a device, as options have it and as tests use it."""

from dataclasses import dataclass
from typing import Final

from conformance.vfio.device import Device
from conformance.vfio.region import Region

_ALL: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class Place:
    """Bits of a 32-bit BAR register, as declared by the operator."""

    bar: int
    offset: int
    mask: int

    def __str__(self) -> str:
        return f"{self.bar}:{self.offset:#x}:{self.mask:#x}"


@dataclass(frozen=True)
class DoorbellPlace:
    """A doorbell of a BAR, as declared by the operator.

    The two 32-bit registers at ``address`` take the IOVA, low half first. A write of a value
    other than 0 to ``offset`` then makes a running device write to that IOVA.
    """

    bar: int
    offset: int
    address: int


@dataclass(frozen=True)
class Doorbell:
    """A declared doorbell of an open device."""

    region: Region
    offset: int
    address: int

    def ring(self, iova: int, value: int = 1) -> None:
        """Make the device write ``value`` at ``iova``."""
        self.region.write_int(self.address, iova & 0xFFFFFFFF)
        self.region.write_int(self.address + 4, iova >> 32)
        self.region.write_int(self.offset, value)


@dataclass(frozen=True)
class KickPlace:
    """A declared pair of registers: a write at ``offset`` changes the one at ``moves``."""

    bar: int
    offset: int
    moves: int


@dataclass(frozen=True)
class Kick:
    """A declared pair of an open device: the tail of a queue, and the head that follows it."""

    region: Region
    offset: int
    moves: int

    def read(self) -> int:
        """Return the register that changes."""
        return self.region.read_int(self.moves)

    def write(self, value: int) -> None:
        """Write the register that makes it change."""
        self.region.write_int(self.offset, value)


@dataclass(frozen=True)
class Write:
    """A write to a 32-bit register of a BAR."""

    bar: int
    offset: int
    value: int


@dataclass(frozen=True)
class Busy:
    """A declared write of an open device, after which it takes too long to come to rest."""

    device: Device
    place: Write

    def write(self) -> None:
        """Keep the running device busy, until it is reset or has gone on after a stop failed."""
        self.device.known(self.place.bar).write_int(self.place.offset, self.place.value)


@dataclass(frozen=True)
class TriggerPlace:
    """Declared writes, the last of which raises an interrupt on an MSI-X vector.

    The others enable the interrupt.
    """

    vector: int
    writes: tuple[Write, ...]


@dataclass(frozen=True)
class Trigger:
    """Declared writes of an open device that raise an interrupt."""

    device: Device
    place: TriggerPlace

    @property
    def vector(self) -> int:
        """The MSI-X vector."""
        return self.place.vector

    def pull(self) -> None:
        """Raise the interrupt."""
        for write in self.place.writes:
            self.device.known(write.bar).write_int(write.offset, write.value)


@dataclass(frozen=True)
class Scratch:
    """A declared register of an open device."""

    region: Region
    offset: int
    mask: int

    def read(self) -> int:
        """Return the declared bits of the register, the others as 0."""
        return self.region.read_int(self.offset) & self.mask

    def write(self, value: int) -> None:
        """Write the declared bits; the others keep their values."""
        kept = 0 if self.mask == _ALL else self.region.read_int(self.offset) & ~self.mask
        self.region.write_int(self.offset, kept | (value & self.mask))


@dataclass(frozen=True)
class Settings:
    """The plugin's options, parsed.

    Attributes:
        device: BDF of the function under test.
        peer: BDF of a second function of the same kind.
        scratch: Registers that tests may write.
        seed: Seed of everything random.
        pairs: Pairs of functions, each for one more pytest process in parallel.
        volatile: Registers that change by themselves, such as clocks and counters.
        doorbells: Registers that make the device write to memory.
        as_is: No test may bind a function to another driver.
        trapped: Registers whose writes the driver must see while it saves the device.
        protocol: Version of the protocol to judge; 0 for what the device offers.
        enables: Bits that start a part of the device; they read as set while it runs.
        kicks: Registers that make the running device change another one when written.
        triggers: Writes that raise an interrupt.
        busies: Writes that keep the running device from coming to rest.
        fatal: Requests of which the kernel is known to die.
        packets: Network interface from which frames reach the device.
    """

    device: str
    peer: str | None = None
    scratch: tuple[Place, ...] = ()
    seed: int = 0
    pairs: tuple[tuple[str, str], ...] = ()
    volatile: tuple[Place, ...] = ()
    doorbells: tuple[DoorbellPlace, ...] = ()
    as_is: bool = False
    trapped: tuple[Place, ...] = ()
    protocol: int = 0
    enables: tuple[Place, ...] = ()
    kicks: tuple[KickPlace, ...] = ()
    triggers: tuple[TriggerPlace, ...] = ()
    busies: tuple[Write, ...] = ()
    fatal: tuple[str, ...] = ()
    packets: str | None = None
