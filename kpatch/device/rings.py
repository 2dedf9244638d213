# SPDX-License-Identifier: GPL-2.0-only
"""The rules of a description's rings: registers that fit together and cannot change unseen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kpatch.device.ring import MAX_BUFFER
from kpatch.device.values import PAGE
from kpatch.errors import Mistake

if TYPE_CHECKING:
    from kpatch.device.description import Bar, Register
    from kpatch.device.ring import Ring

_KNOWN = (
    *("base", "base_high", "length", "length_mask", "length_in", "head", "enable"),
    *("enable_mask", "descriptor_size"),
)
"""Keys that a ring with a base needs, and one without must not have."""


def check(
    raw: dict[str, Any],
    rings: Sequence[tuple[str, Ring]],
    bars: Sequence[tuple[str, Bar]],
    state: Sequence[tuple[str, Register]],
) -> Iterator[Mistake]:
    """Yield the mistakes of the rings that are right in themselves.

    Args:
        raw: The description as it was read.
        rings: The rings with their keys.
        bars: The BARs that are right in themselves.
        state: The state registers that are right in themselves.
    """
    migration = raw.get("migration")
    if raw.get("transport") == "emulated" and isinstance(migration, dict) and migration.get("ring"):
        message = "is not for a software device, of which VFIO sees each write"
        yield Mistake("migration.ring", "an array", message)
    registers = {register.name: register for _, register in state}
    for key, ring in rings:
        yield from _complete(key, ring)
        yield from _buffer(key, ring)
        named = {
            f"{key}.{where}": registers[name]
            for where, name in ring.registers.items()
            if name in registers
        }
        for where, name in ring.registers.items():
            if name not in registers:
                listed = ", ".join(registers) or "none"
                message = f"is not a state register; those are: {listed}"
                yield Mistake(f"{key}.{where}", f'"{name}"', message)
        yield from _alike(named)
        yield from _seen(named, [bar for _, bar in bars])
        yield from _fields(key, ring, registers)


def _complete(key: str, ring: Ring) -> Iterator[Mistake]:
    """Yield what is missing of a ring, or too much of one that is not known."""
    if ring.base:
        for name in _KNOWN:
            if getattr(ring, name) is None:
                yield Mistake(f"{key}.{name}", "", "missing; a ring with a base needs it")
        return
    for name in (*_KNOWN[1:], "buffer", "format"):
        if getattr(ring, name):
            message = "is of no use without a base; give it, or the tail alone"
            yield Mistake(f"{key}.{name}", "there", message)


def _buffer(key: str, ring: Ring) -> Iterator[Mistake]:
    buffer = ring.buffer
    if not buffer:
        return
    given = [getattr(buffer, name) is not None for name in ("register_name", "mask", "unit")]
    if any(given) and not all(given):
        message = "must have register, mask and unit, or none of them"
        yield Mistake(f"{key}.buffer", "a table", message)
    if buffer.largest > MAX_BUFFER:
        message = f"can say {buffer.largest:#x} bytes; at most {MAX_BUFFER:#x} are valid"
        yield Mistake(f"{key}.buffer.mask", f"{buffer.mask:#x}", message)
    for name, offset in (*zip(("[0]", "[1]"), buffer.address, strict=True), ("", buffer.done)):
        if ring.descriptor_size and offset + 4 > ring.descriptor_size:
            where = f"{key}.buffer.address{name}" if name else f"{key}.buffer.done"
            message = f"lies outside the descriptor, which is {ring.descriptor_size} bytes"
            yield Mistake(where, f"{offset:#x}", message)


def _alike(named: dict[str, Register]) -> Iterator[Mistake]:
    """Yield each register that does not go with the first one."""
    first = next(iter(named.values()), None)
    for key, register in named.items():
        assert first
        if register.width != 4:
            message = f"has width {register.width}; registers of a ring are 4 bytes wide"
            yield Mistake(key, f'"{register.name}"', message)
        stride = register.stride if register.count > 1 else first.stride
        if (register.bar, register.count, stride) != (first.bar, first.count, first.stride):
            message = f"differs from {first.name} in BAR, count or stride"
            yield Mistake(key, f'"{register.name}"', message)


def _seen(named: dict[str, Register], bars: Sequence[Bar]) -> Iterator[Mistake]:
    """Yield each register that could change while saving without the driver's knowledge."""
    for key, register in named.items():
        bar = next((bar for bar in bars if bar.index == register.bar), None)
        if not bar:
            continue
        mapped = [
            offset
            for offset in register.offsets
            for area in bar.saving_areas
            if area.offset <= offset < area.offset + area.size
        ]
        if mapped:
            page = mapped[0] // PAGE * PAGE
            message = (
                f"can be mapped while saving, so the ring could change unseen; add what is in the "
                f"page at {page:#x} to trapped_while_saving"
            )
            yield Mistake(key, f'"{register.name}"', message)


def _fields(key: str, ring: Ring, registers: dict[str, Register]) -> Iterator[Mistake]:
    """Yield each field with bits that the state of its register does not have."""
    fields = [("length", ring.length, ring.length_mask), ("enable", ring.enable, ring.enable_mask)]
    fields += [
        (f"format[{number}]", one.register_name, one.mask) for number, one in enumerate(ring.format)
    ]
    if ring.buffer:
        fields.append(("buffer", ring.buffer.register_name, ring.buffer.mask))
    for name, register, mask in fields:
        if register in registers and mask and mask & ~registers[register].mask:
            where = f"{key}.{name}_mask" if name in ("length", "enable") else f"{key}.{name}.mask"
            message = f"has bits that the state's mask, {registers[register].mask:#x}, has not"
            yield Mistake(where, f"{mask:#x}", message)
    for number, one in enumerate(ring.format):
        for value in one.values:
            if value & ~one.mask:
                message = f"has bits that the mask, {one.mask:#x}, does not look at"
                yield Mistake(f"{key}.format[{number}].values", f"{value:#x}", message)
