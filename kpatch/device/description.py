# SPDX-License-Identifier: GPL-2.0-only
"""The format of a device description: what the hardware is and what its migration needs.

Each class is a table of the TOML file, each attribute a key. Offsets and sizes are in bytes, a page
is 4096 bytes. What must hold between the entries is in `kpatch.device.rules`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from kpatch.device.protocols import Protocol, Region, States
from kpatch.device.ring import Ring
from kpatch.device.values import (
    PAGE,
    U16,
    U32,
    AsTuple,
    RegisterName,
    Table,
    Text,
    demand,
    whole_mask,
)

_BarIndex = Annotated[int, Field(ge=0, le=5)]


class DeviceId(Table):
    """A PCI function the driver may be bound to.

    Attributes:
        vendor: PCI vendor id.
        device: PCI device id.
    """

    vendor: Annotated[U16, demand(lambda n: n not in {0, 0xFFFF}, "a vendor id, 1 to 0xfffe")]
    device: U16


class Trap(Table):
    """A register range that the driver must see while the device is saving.

    Attributes:
        offset: Where it begins in the BAR; a multiple of 4.
        size: How long it is; a multiple of 4.
        why: What is there; becomes a comment.
    """

    offset: Annotated[U32, demand(lambda n: n % 4 == 0, "a multiple of 4")]
    size: Annotated[int, demand(lambda n: n > 0 and n % 4 == 0, "a positive multiple of 4")]
    why: Text


class Area(Table):
    """A page-aligned part of a BAR.

    Attributes:
        offset: Where it begins.
        size: How long it is.
    """

    offset: int
    size: int


class Bar(Table):
    """A memory BAR that the migration has to do with.

    Attributes:
        index: Its number, 0 to 5.
        size: Its size; a power of two, at least a page.
        trapped_while_saving: Ranges that cannot be mapped while the device is saving.
    """

    index: _BarIndex
    size: Annotated[
        int,
        demand(lambda n: n >= PAGE and n & (n - 1) == 0, "a power of two, 4096 or more"),
        Field(le=1 << 31),
    ]
    trapped_while_saving: Annotated[tuple[Trap, ...], AsTuple] = ()

    @property
    def saving_areas(self) -> tuple[Area, ...]:
        """What may stay mapped while saving: all pages without a trapped byte, ascending.

        Without traps that is the whole BAR; where every page has one it is nothing.
        """
        trapped = {
            page
            for trap in self.trapped_while_saving
            for page in range(trap.offset // PAGE, (trap.offset + trap.size - 1) // PAGE + 1)
        }
        areas: list[Area] = []
        begin = 0
        for page in [*sorted(trapped), self.size // PAGE]:
            if page > begin:
                areas.append(Area(offset=begin * PAGE, size=(page - begin) * PAGE))
            begin = page + 1
        return tuple(areas)


class Clear(Table):
    """How bits of a register are cleared that a write of the register can only set.

    Attributes:
        offset: The separate register that clears; of the same width, in the same BAR.
        value: What is written there before the register is restored.
    """

    offset: U32
    value: Annotated[U32, demand(lambda n: n != 0, "a value with at least one bit")]


class Register(Table):
    """Registers that are part of the device state.

    They must read back what was written, in the bits of `mask`, and reading them must change
    nothing. An entry may stand for several of them at equal distances.

    Attributes:
        name: Its name in the data sheet; a C identifier, unique.
        bar: The BAR it is in.
        offset: Where it is in the BAR; a multiple of its width.
        width: 1, 2 or 4 (the default).
        count: How many there are, 1 unless said.
        stride: Distance from one to the next; the width unless said.
        mask: The bits that are restored; all of the width unless said.
        clear: For a register whose bits can only be set: how they are cleared.
        after_start: Whether it is restored only when the device has been started, as the tail of
            a queue that does not take one before it is enabled.
    """

    name: RegisterName
    bar: _BarIndex
    offset: U32
    width: Annotated[int, demand(lambda n: n in {1, 2, 4}, "1, 2 or 4")] = 4
    count: Annotated[int, Field(ge=1, le=4096)] = 1
    stride: Annotated[int, Field(ge=1, le=1 << 24)]
    mask: Annotated[U32, demand(lambda n: n != 0, "a mask with at least one bit")]
    clear: Clear | None = None
    after_start: bool = False

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """Fill in what follows from the width."""
        if not isinstance(data, dict):
            return data
        width = data.get("width", 4)
        width = next((valid for valid in (1, 2) if width == valid), 4)
        return {"stride": width, "mask": whole_mask(width), **data}

    @property
    def offsets(self) -> range:
        """Where each of them is."""
        return range(self.offset, self.offset + self.count * self.stride, self.stride)


class Stop(Table):
    """Bits that are cleared to stop the device and restored to start it.

    Attributes:
        name: The name of a state register of width 4.
        bar: Its BAR.
        offset: Its offset.
        clear: The bits to clear.
        count: Its count.
        stride: Its stride.
    """

    name: RegisterName
    bar: _BarIndex
    offset: U32
    clear: Annotated[U32, demand(lambda n: n != 0, "a mask with at least one bit")]
    count: Annotated[int, Field(ge=1, le=4096)] = 1
    stride: Annotated[int, Field(ge=1, le=1 << 24)] = 4


class Drained(Table):
    """The register that shows that a stopped device has come to rest.

    Attributes:
        register: The name of state registers of width 4.
        mask: The bits of each that count.
        value: What they are when it has.
        timeout_us: How long to wait for that, in microseconds, up to a second.
    """

    register_name: Annotated[RegisterName, Field(alias="register")]
    mask: Annotated[U32, demand(lambda n: n != 0, "a mask with at least one bit")]
    value: U32
    timeout_us: Annotated[int, Field(ge=1, le=1_000_000)]


class Elsewhere(Table):
    """State of the device that is not in the stream.

    Attributes:
        what: Which.
        held_by: Who has it: the physical function, the virtual machine monitor, or nobody, so
            that it is lost.
        why: Why it is not in the stream, or what follows from that.
    """

    what: Text
    held_by: Literal["physical function", "virtual machine monitor", "lost"]
    why: Text


class Quiescing(Table):
    """What the migration of the device needs in every version of the protocol.

    Attributes:
        padding: Bytes behind the registers in the stream, which makes it as long as that of a
            device with memory of its own; a multiple of 4, none unless said.
        state: The registers of the device state, in the order they are restored.
        stop: How the device is stopped; done in the order of the state, like starting it. A PCI
            function loses bus master then as well.
        bus_master_stops: Whether a PCI function is stopped without any `stop`, by that alone.
        drained: What to wait for when it has been stopped.
        ring: All that the device writes to memory, as rings that the driver follows while the
            device is saved; without any, every page that is mapped is reported as dirty.
        elsewhere: State that is not in the stream.
    """

    padding: Annotated[int, demand(lambda n: n % 4 == 0, "a multiple of 4")] = Field(
        default=0, ge=0, le=1 << 26
    )
    state: Annotated[tuple[Register, ...], AsTuple, Field(min_length=1)]
    stop: Annotated[tuple[Stop, ...], AsTuple] = ()
    bus_master_stops: bool = False
    drained: Annotated[tuple[Drained, ...], AsTuple] = ()
    ring: Annotated[tuple[Ring, ...], AsTuple] = ()
    elsewhere: Annotated[tuple[Elsewhere, ...], AsTuple] = ()


class Migration(Quiescing):
    """What the migration of the device needs.

    Attributes:
        protocols: The versions of the protocol that the driver speaks, all of them in one module;
            empty if it speaks one at a time, of those that have a table.
        v1: The migration region; None if the device is not for version 1.
        v2: The states of VFIO_DEVICE_FEATURE_MIGRATION; None if it is not for version 2.
    """

    protocols: Annotated[tuple[Protocol, ...], AsTuple, Field(min_length=1)] | None = None
    v1: Region | None = None
    v2: States | None = None

    @property
    def supported(self) -> tuple[Protocol, ...]:
        """The versions of the protocol that the driver can be rendered for."""
        return (*(("v1",) if self.v1 else ()), *(("v2",) if self.v2 else ()))


class Migration1(Quiescing, Region):
    """What the migration of the device needs, in schema 1."""

    def upgraded(self) -> Migration:
        """Return the same in schema 2."""
        shared = {name: getattr(self, name) for name in Quiescing.model_fields}
        region = {name: getattr(self, name) for name in Region.model_fields}
        states = States(precopy=self.precopy)
        return Migration(**shared, v1=Region(**region), v2=states)


class Emulated(Table):
    """What a software device does by itself, in registers of its state that are 4 bytes wide.

    Attributes:
        counter: The name of one that counts while the device runs.
        doorbell: The name of those that make the device write to memory: the value that is
            written to one, when it is served; then it is zero.
        address: The name of those that say where to: for each doorbell the low half of an
            address and the high half.
    """

    counter: RegisterName
    doorbell: RegisterName
    address: RegisterName


class _Device(Table):
    """A device description.

    Attributes:
        schema_version: `schema`, the version of this format: 2; a description in schema 1 is
            read, and becomes one of schema 2.
        name: Lower-case words with hyphens. The driver's prefix and module name follow from it.
        summary: What the device is, in up to 48 characters.
        transport: How the device comes to its driver: "pci", a variant of vfio-pci; "emulated",
            a software device that is in the driver itself, and its IOMMU as well.
        ids: The PCI functions that the driver is for; what a software device says that it is.
        bars: `bar`, the BARs with traps or state registers.
        emulated: What a software device does by itself; for no other transport.
    """

    schema_version: Annotated[
        int, demand(lambda n: n in {1, 2}, "2, or 1 for the older format"), Field(alias="schema")
    ]
    name: Annotated[
        str,
        StringConstraints(max_length=32),
        demand(
            lambda text: (
                all(w.isascii() and w.isalnum() for w in text.split("-"))
                and text == text.lower()
                and text[:1].isalpha()
            ),
            "lower-case letters and digits in words joined by hyphens, like igb-vf",
        ),
    ]
    summary: Annotated[Text, StringConstraints(max_length=48)]
    transport: Literal["pci", "emulated"]
    ids: Annotated[tuple[DeviceId, ...], AsTuple, Field(min_length=1)]
    bars: Annotated[tuple[Bar, ...], AsTuple, Field(alias="bar", min_length=1)]
    emulated: Emulated | None = None

    @property
    def prefix(self) -> str:
        """What the driver's identifiers begin with: igb_vf."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """The name of the driver's module: igb_vf_vfio_pci, or emulated_vfio without PCI."""
        return f"{self.prefix}_vfio_pci" if self.transport == "pci" else f"{self.prefix}_vfio"


class Device(_Device):
    """A device description, whatever its schema was.

    Attributes:
        migration: What its migration needs.
    """

    migration: Migration


class Device1(_Device):
    """A device description in schema 1.

    Attributes:
        migration: What its migration needs.
    """

    migration: Migration1

    def upgraded(self) -> Device:
        """Return the same in schema 2."""
        shared = {name: getattr(self, name) for name in _Device.model_fields}
        return Device.model_construct(**shared, migration=self.migration.upgraded())
