# SPDX-License-Identifier: GPL-2.0-only
"""The rings of descriptors in memory that a device writes to, as a description names them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kpatch.device.values import U32, AsTuple, RegisterName, Table, Text, demand

MAX_BUFFER = 1 << 17
"""Bytes of the largest receive buffer."""

_Offset = Annotated[int, Field(ge=0, le=124), demand(lambda n: n % 4 == 0, "a multiple of 4")]
_Mask = Annotated[U32, demand(lambda n: n != 0, "a mask with at least one bit")]


class RingBuffer(Table):
    """The buffers of a receive ring.

    Attributes:
        address: Where in a descriptor the low and the high half of a buffer's address are.
        size: How many bytes the device writes to one at most; where a register says that, what
            holds while its field is 0.
        register: The register with their size.
        mask: Its field.
        unit: Bytes for each step of the field.
        done: Where in a descriptor the device says that it was used, in the 32-bit word there.
        done_mask: The bits that say it; they are 0 in a descriptor that is posted.
    """

    address: Annotated[tuple[_Offset, _Offset], AsTuple]
    size: Annotated[int, Field(ge=1, le=MAX_BUFFER)]
    register_name: Annotated[RegisterName | None, Field(alias="register")] = None
    mask: _Mask | None = None
    unit: Annotated[int | None, Field(ge=1, le=MAX_BUFFER)] = None
    done: _Offset
    done_mask: _Mask

    @property
    def largest(self) -> int:
        """The size of the largest buffer that a register can ask for, in bytes."""
        if not self.mask or not self.unit:
            return self.size
        return max(self.size, self.mask // (self.mask & -self.mask) * self.unit)


class RingFormat(Table):
    """Which formats of descriptors a description covers, where a register chooses one.

    Attributes:
        register: The register.
        mask: Its field.
        values: What the field has, in its place, for what is described.
    """

    register_name: Annotated[RegisterName, Field(alias="register")]
    mask: _Mask
    values: Annotated[tuple[U32, ...], AsTuple, Field(min_length=1)]


class Ring(Table):
    """A ring of descriptors in memory that the device writes to, or several at equal distances.

    All its registers are state registers of width 4 in one BAR, alike in count and stride, and in
    pages that are trapped while saving.

    Attributes:
        name: What it is; for comments and messages.
        tail: The register that is written when descriptors are posted.
        base: That with the low half of the ring's address. Without it nothing but the tail is
            known of the ring: once that is not 0, what the device writes is unknown.
        base_high: That with the high half.
        length: That with the length of the ring.
        length_mask: Its field.
        length_in: Whether the length is in bytes or in descriptors.
        head: That with the index of the first descriptor which the device is not done with.
        enable: That which enables the queue.
        enable_mask: Its bits; the queue runs if any is set.
        descriptor_size: Bytes of a descriptor; a power of two.
        format: What else must hold for the description to be right; one or more.
        buffer: The buffers, in a receive ring. Other rings only have their descriptors written.
    """

    name: Text
    tail: RegisterName
    base: RegisterName | None = None
    base_high: RegisterName | None = None
    length: RegisterName | None = None
    length_mask: _Mask | None = None
    length_in: Literal["bytes", "descriptors"] | None = None
    head: RegisterName | None = None
    enable: RegisterName | None = None
    enable_mask: _Mask | None = None
    descriptor_size: (
        Annotated[
            int,
            demand(lambda n: 8 <= n <= 128 and n & (n - 1) == 0, "a power of two, 8 to 128"),
        ]
        | None
    ) = None
    format: Annotated[tuple[RingFormat, ...], AsTuple] = ()
    buffer: RingBuffer | None = None

    @property
    def registers(self) -> dict[str, str]:
        """The names of its registers by the key that names them."""
        own = ("tail", "base", "base_high", "length", "head", "enable")
        found = {key: getattr(self, key) for key in own if getattr(self, key)}
        for number, one in enumerate(self.format):
            found[f"format[{number}].register"] = one.register_name
        if self.buffer and self.buffer.register_name:
            found["buffer.register"] = self.buffer.register_name
        return found
