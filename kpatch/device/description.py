# SPDX-License-Identifier: GPL-2.0-only
"""The format of a device description: what the hardware is and what its migration needs.

Each class is a table of the TOML file, each attribute a key. Offsets and sizes are in bytes, a page
is 4096 bytes. What must hold between the entries is in `kpatch.device.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

PAGE = 4096

FreeArc = Literal["0->3", "0->4", "2->3", "2->4", "3->0", "3->4", "4->0", "4->2", "4->3"]
"""A transition that the protocol neither demands nor forbids."""


def _demand(test: Callable[[Any], bool], words: str) -> AfterValidator:
    """Return a validator whose error says what would be valid."""

    def check(value: Any) -> Any:
        if not test(value):
            raise PydanticCustomError("demand", "must be {words}", {"words": words})
        return value

    return AfterValidator(check)


def _plain(text: str) -> bool:
    """Whether a text can stand in a C comment and in a C string."""
    return text.isascii() and text.isprintable() and not any(c in text for c in ('"', "\\", "*/"))


_U16 = Annotated[int, Field(ge=0, le=0xFFFF)]
_U32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
_BarIndex = Annotated[int, Field(ge=0, le=5)]
_Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=120),
    _demand(_plain, 'printable ASCII in one line, without ", \\ and */'),
]
_RegisterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=40)]
_Pages = Annotated[
    int,
    _demand(lambda n: n % PAGE == 0 and PAGE <= n <= 1 << 26, "a multiple of 4096, up to 64 MiB"),
]
# TOML has arrays, frozen models have tuples.
_AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DeviceId(_Model):
    """A PCI function the driver may be bound to.

    Attributes:
        vendor: PCI vendor id.
        device: PCI device id.
    """

    vendor: Annotated[_U16, _demand(lambda n: n not in {0, 0xFFFF}, "a vendor id, 1 to 0xfffe")]
    device: _U16


class Trap(_Model):
    """A register range that the driver must see while the device is saving.

    Attributes:
        offset: Where it begins in the BAR; a multiple of 4.
        size: How long it is; a multiple of 4.
        why: What is there; becomes a comment.
    """

    offset: Annotated[_U32, _demand(lambda n: n % 4 == 0, "a multiple of 4")]
    size: Annotated[int, _demand(lambda n: n > 0 and n % 4 == 0, "a positive multiple of 4")]
    why: _Text


class Area(_Model):
    """A page-aligned part of a BAR.

    Attributes:
        offset: Where it begins.
        size: How long it is.
    """

    offset: int
    size: int


class Bar(_Model):
    """A memory BAR that the migration has to do with.

    Attributes:
        index: Its number, 0 to 5.
        size: Its size; a power of two, at least a page.
        trapped_while_saving: Ranges that cannot be mapped while the device is saving.
    """

    index: _BarIndex
    size: Annotated[
        int,
        _demand(lambda n: n >= PAGE and n & (n - 1) == 0, "a power of two, 4096 or more"),
        Field(le=1 << 31),
    ]
    trapped_while_saving: Annotated[tuple[Trap, ...], _AsTuple] = ()

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


class Clear(_Model):
    """How bits of a register are cleared that a write of the register can only set.

    Attributes:
        offset: The separate register that clears; of the same width, in the same BAR.
        value: What is written there before the register is restored.
    """

    offset: _U32
    value: Annotated[_U32, _demand(lambda n: n != 0, "a value with at least one bit")]


class Register(_Model):
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

    name: _RegisterName
    bar: _BarIndex
    offset: _U32
    width: Annotated[int, _demand(lambda n: n in {1, 2, 4}, "1, 2 or 4")] = 4
    count: Annotated[int, Field(ge=1, le=4096)] = 1
    stride: Annotated[int, Field(ge=1, le=1 << 24)]
    mask: Annotated[_U32, _demand(lambda n: n != 0, "a mask with at least one bit")]
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
        return {"stride": width, "mask": (1 << 8 * width) - 1, **data}

    @property
    def offsets(self) -> range:
        """Where each of them is."""
        return range(self.offset, self.offset + self.count * self.stride, self.stride)


class Stop(_Model):
    """Bits that are cleared to stop the device and restored to start it.

    Attributes:
        name: The name of a state register of width 4.
        bar: Its BAR.
        offset: Its offset.
        clear: The bits to clear.
        count: Its count.
        stride: Its stride.
    """

    name: _RegisterName
    bar: _BarIndex
    offset: _U32
    clear: Annotated[_U32, _demand(lambda n: n != 0, "a mask with at least one bit")]
    count: Annotated[int, Field(ge=1, le=4096)] = 1
    stride: Annotated[int, Field(ge=1, le=1 << 24)] = 4


class Drained(_Model):
    """The register that shows that a stopped device has come to rest.

    Attributes:
        register: The name of state registers of width 4.
        mask: The bits of each that count.
        value: What they are when it has.
        timeout_us: How long to wait for that, in microseconds, up to a second.
    """

    register_name: Annotated[_RegisterName, Field(alias="register")]
    mask: Annotated[_U32, _demand(lambda n: n != 0, "a mask with at least one bit")]
    value: _U32
    timeout_us: Annotated[int, Field(ge=1, le=1_000_000)]


class Elsewhere(_Model):
    """State of the device that is not in the stream.

    Attributes:
        what: Which.
        held_by: Who has it: the physical function, the virtual machine monitor, or nobody, so
            that it is lost.
        why: Why it is not in the stream, or what follows from that.
    """

    what: _Text
    held_by: Literal["physical function", "virtual machine monitor", "lost"]
    why: _Text


class Migration(_Model):
    """What the migration of the device needs.

    Attributes:
        data_size: Size of the data section of the migration region; a multiple of a page.
        data_mmap: Whether user space may map the data section.
        data_mmap_size: How much of it, from its beginning; all of it unless said.
        chunk_size: Most bytes of the stream that are offered at a time, 64 to `data_size`;
            `data_size` unless said.
        padding: Bytes behind the registers in the stream, which makes it as long as that of a
            device with memory of its own; a multiple of 4, none unless said.
        precopy: Whether a frame with the device's identity is sent before the device stops.
        accept_free_arcs: Transitions to accept, of those the protocol leaves open.
        state: The registers of the device state, in the order they are restored.
        stop: How the device is stopped; done in the order of the state, like starting it. A PCI
            function loses bus master then as well.
        bus_master_stops: Whether a PCI function is stopped without any `stop`, by that alone.
        drained: What to wait for when it has been stopped.
        elsewhere: State that is not in the stream.
    """

    data_size: _Pages
    data_mmap: bool = True
    data_mmap_size: _Pages
    padding: Annotated[int, _demand(lambda n: n % 4 == 0, "a multiple of 4")] = Field(
        default=0, ge=0, le=1 << 26
    )
    chunk_size: Annotated[int, Field(ge=64)]
    precopy: bool = False
    accept_free_arcs: Annotated[tuple[FreeArc, ...], _AsTuple] = ()
    state: Annotated[tuple[Register, ...], _AsTuple, Field(min_length=1)]
    stop: Annotated[tuple[Stop, ...], _AsTuple] = ()
    bus_master_stops: bool = False
    drained: Annotated[tuple[Drained, ...], _AsTuple] = ()
    elsewhere: Annotated[tuple[Elsewhere, ...], _AsTuple] = ()

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """Fill in what follows from the size of the data section."""
        if not isinstance(data, dict):
            return data
        size = data.get("data_size")
        # A mistake in data_size is not to be reported a second time for what follows from it.
        whole = size if isinstance(size, int) and size >= PAGE and size % PAGE == 0 else PAGE
        return {"chunk_size": whole, "data_mmap_size": whole, **data}


class Emulated(_Model):
    """What a software device does by itself, in registers of its state that are 4 bytes wide.

    Attributes:
        counter: The name of one that counts while the device runs.
        doorbell: The name of those that make the device write to memory: the value that is
            written to one, when it is served; then it is zero.
        address: The name of those that say where to: for each doorbell the low half of an
            address and the high half.
    """

    counter: _RegisterName
    doorbell: _RegisterName
    address: _RegisterName


class Device(_Model):
    """A device description.

    Attributes:
        schema_version: `schema`, the version of this format: 1.
        name: Lower-case words with hyphens. The driver's prefix and module name follow from it.
        summary: What the device is, in up to 48 characters.
        transport: How the device comes to its driver: "pci", a variant of vfio-pci; "emulated",
            a software device that is in the driver itself, and its IOMMU as well.
        ids: The PCI functions that the driver is for; what a software device says that it is.
        bars: `bar`, the BARs with traps or state registers.
        migration: What its migration needs.
        emulated: What a software device does by itself; for no other transport.
    """

    schema_version: Annotated[int, _demand(lambda n: n == 1, "1"), Field(alias="schema")]
    name: Annotated[
        str,
        StringConstraints(max_length=32),
        _demand(
            lambda text: (
                all(w.isascii() and w.isalnum() for w in text.split("-"))
                and text == text.lower()
                and text[:1].isalpha()
            ),
            "lower-case letters and digits in words joined by hyphens, like igb-vf",
        ),
    ]
    summary: Annotated[_Text, StringConstraints(max_length=48)]
    transport: Literal["pci", "emulated"]
    ids: Annotated[tuple[DeviceId, ...], _AsTuple, Field(min_length=1)]
    bars: Annotated[tuple[Bar, ...], _AsTuple, Field(alias="bar", min_length=1)]
    migration: Migration
    emulated: Emulated | None = None

    @property
    def prefix(self) -> str:
        """What the driver's identifiers begin with: igb_vf."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """The name of the driver's module: igb_vf_vfio_pci, or emulated_vfio without PCI."""
        return f"{self.prefix}_vfio_pci" if self.transport == "pci" else f"{self.prefix}_vfio"
