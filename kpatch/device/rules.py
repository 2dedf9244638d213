# SPDX-License-Identifier: GPL-2.0-only
"""The rules between the parts of a description: nothing overlaps, everything lies in its BAR.

They look at every entry that is right in itself, also when others are not, so that all mistakes
of a description are reported together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kpatch.device import rings
from kpatch.errors import Mistake

if TYPE_CHECKING:
    from kpatch.device.description import Bar, DeviceId, Drained, Emulated, Register, Stop
    from kpatch.device.ring import Ring

_PROTOCOLS = ("v1", "v2")

MAX_REGISTERS = 65536

MAX_MEMORY = 1 << 26
"""Bytes of a BAR of a software device, which are memory of the kernel."""

_IN_TREE = frozenset(
    {"hisi-acc", "ism", "mlx5", "nvgrace-gpu", "pds", "qat", "virtio", "xe"}
)  # drivers/vfio/pci of Linux up to 7.3
_OF_THE_KERNEL = frozenset(
    {"acpi", "block", "compat", "cpu", "device", "driver", "file", "i2c", "iommu", "iommufd", "kvm"}
    | {"mdev", "mm", "mmc", "module", "net", "page", "pci", "platform", "spi", "task", "usb", "vm"}
)
"""First words of identifiers in the headers that a driver includes: struct pci_device_id."""

_T = TypeVar("_T", bound=Hashable)


@dataclass(frozen=True)
class Parts:
    """The entries of a description that are right in themselves, each with its key.

    `emulated` is the table of that name, None if it is missing or has mistakes of its own.
    """

    ids: Sequence[tuple[str, DeviceId]]
    bars: Sequence[tuple[str, Bar]]
    state: Sequence[tuple[str, Register]]
    stop: Sequence[tuple[str, Stop]]
    drained: Sequence[tuple[str, Drained]]
    ring: Sequence[tuple[str, Ring]]
    emulated: Emulated | None


def is_old(raw: dict[str, Any]) -> bool:
    """Return whether a description is in schema 1; of another number than 1 or 2, what it is like.

    So a wrong number is one mistake, and not one for each key that its schema does not have.
    """
    schema, migration = raw.get("schema"), raw.get("migration")
    tables = isinstance(migration, dict) and any(name in migration for name in _PROTOCOLS)
    return schema == 1 or (schema != 2 and not tables)


def check(raw: dict[str, Any], parts: Parts) -> list[Mistake]:
    """Return every mistake between the parts.

    Args:
        raw: The description as it was read, with what is there but wrong.
        parts: What is right in itself.
    """
    return [
        *_name(raw),
        *_ids(parts),
        *_bars(parts),
        *_protocols(raw),
        *_region(*_region_of(raw)),
        *_state(raw, parts),
        *_stop(parts),
        *_stopped(raw, parts),
        *_drained(parts),
        *rings.check(raw, parts.ring, parts.bars, parts.state),
        *_emulated(raw, parts),
    ]


def _name(raw: dict[str, Any]) -> Iterator[Mistake]:
    """Yield the mistake of a name that the kernel has a use for."""
    name, transport = raw.get("name"), raw.get("transport")
    if not isinstance(name, str):
        return
    if name in _IN_TREE and transport == "pci":
        module = f"{name.replace('-', '_')}_vfio_pci"
        message = f"Linux has a module {module}, which would be loaded instead; add a word"
        yield Mistake("name", f'"{name}"', message)
    elif name in _OF_THE_KERNEL or name.partition("-")[0] == "vfio":
        message = (
            "begins identifiers of the kernel, which the driver's would clash with; add a word"
        )
        yield Mistake("name", f'"{name}"', message)


def _ids(parts: Parts) -> Iterator[Mistake]:
    pairs = [(key, (one.vendor, one.device)) for key, one in parts.ids]
    for key, pair, first in _repeated(pairs):
        yield Mistake(key, f"{pair[0]:04x}:{pair[1]:04x}", f"is listed already as {first}")


def _bars(parts: Parts) -> Iterator[Mistake]:
    for key, index, first in _repeated((key, bar.index) for key, bar in parts.bars):
        yield Mistake(f"{key}.index", str(index), f"BAR {index} is described already by {first}")
    for key, bar in parts.bars:
        traps = [
            (f"{key}.trapped_while_saving[{number}]", trap)
            for number, trap in enumerate(bar.trapped_while_saving)
        ]
        for where, trap in traps:
            if trap.offset + trap.size > bar.size:
                message = f"lies outside BAR {bar.index}, which is {bar.size:#x} bytes"
                yield Mistake(where, _span(trap.offset, trap.size), message)
        yield from _overlaps((where, trap.offset, trap.size) for where, trap in traps)


def _protocols(raw: dict[str, Any]) -> Iterator[Mistake]:
    """Yield the mistakes of what versions of the protocol there are; schema 1 does not say."""
    migration = raw.get("migration")
    if is_old(raw) or not isinstance(migration, dict):
        return
    tables = [name for name in _PROTOCOLS if name in migration]
    listed = migration.get("protocols")
    if not isinstance(listed, list):
        if not tables:
            message = "neither [migration.v1] nor [migration.v2] is there; a driver needs one"
            yield Mistake("migration", "", message)
        return
    keys = [(f"migration.protocols[{number}]", str(name)) for number, name in enumerate(listed)]
    for key, name, first in _repeated(keys):
        yield Mistake(key, f'"{name}"', f"is listed already as {first}")
    for key, name in keys:
        if name in _PROTOCOLS and name not in tables:
            yield Mistake(key, f'"{name}"', f"there is no table [migration.{name}]")
    for name in tables:
        if name not in listed:
            message = f"is not one of the protocols; list it there or drop [migration.{name}]"
            yield Mistake(f"migration.{name}", "a table", message)


def _region_of(raw: dict[str, Any]) -> tuple[str, Any]:
    """Return key and table of what is said of version 1, which schema 1 has among the rest."""
    migration = raw.get("migration")
    if is_old(raw):
        return "migration", migration
    return "migration.v1", migration.get("v1") if isinstance(migration, dict) else None


def _region(table: str, region: Any) -> Iterator[Mistake]:
    """Yield the mistakes of the migration region."""
    if not isinstance(region, dict):
        return
    data = region.get("data_size")
    for key in ("chunk_size", "data_mmap_size"):
        size = region.get(key)
        if isinstance(size, int) and isinstance(data, int) and size > data:
            message = f"must not be larger than data_size, which is {data:#x}"
            yield Mistake(f"{table}.{key}", f"{size:#x}", message)
    arcs = region.get("accept_free_arcs")
    named = enumerate(arcs if isinstance(arcs, list) else [])
    keys = [(f"{table}.accept_free_arcs[{number}]", str(arc)) for number, arc in named]
    for key, arc, first in _repeated(keys):
        yield Mistake(key, f'"{arc}"', f"is listed already as {first}")


def _state(raw: dict[str, Any], parts: Parts) -> Iterator[Mistake]:
    for key, name, first in _repeated((key, register.name) for key, register in parts.state):
        yield Mistake(f"{key}.name", f'"{name}"', f"is the name of {first} already")
    total = sum(register.count for _, register in parts.state)
    if total > MAX_REGISTERS:
        yield Mistake("migration.state", f"{total} registers", f"at most {MAX_REGISTERS} are valid")
    bars = {bar.index: bar for _, bar in reversed(parts.bars)}
    described = raw.get("bar")
    # A BAR with a mistake of its own is not one that was forgotten.
    known = [bar.get("index") for bar in _tables(described)]
    for key, register in parts.state:
        yield from _shape(key, register)
        if register.bar not in known:
            listed = ", ".join(str(index) for index in sorted(bars)) or "none"
            message = f"there is no [[bar]] with that index; described are: {listed}"
            yield Mistake(f"{key}.bar", str(register.bar), message)
        elif register.bar in bars:
            size = bars[register.bar].size
            if register.offsets[-1] + register.width > size:
                span = _span(
                    register.offset, register.offsets[-1] + register.width - register.offset
                )
                message = f"lies outside BAR {register.bar}, which is {size:#x} bytes"
                yield Mistake(f"{key}.offset", span, message)
    for index in sorted({register.bar for _, register in parts.state}):
        yield from _overlaps(
            (key, offset, register.width)
            for key, register in parts.state
            if register.bar == index
            for offset in register.offsets
        )
    for key, register in parts.state:
        size = bars[register.bar].size if register.bar in bars else 0
        yield from _clear(f"{key}.clear", register, size, raw.get("transport") == "emulated")
    names = {stop.name for _, stop in parts.stop}
    for key, register in parts.state:
        if register.after_start and register.name in names:
            message = "is what starts the device, so it cannot be restored after that"
            yield Mistake(f"{key}.after_start", "true", message)


def _clear(key: str, register: Register, size: int, software: bool) -> Iterator[Mistake]:
    """Yield the mistakes of how a register is cleared whose bits can only be set."""
    clear, width = register.clear, register.width
    if not clear:
        return
    if software:
        yield Mistake(key, "a table", "is not for a software device, whose registers are memory")
    if register.count != 1:
        yield Mistake(key, "a table", "is for a single register; describe each by itself")
    if clear.offset % width:
        message = f"must be a multiple of the width, {width}"
        yield Mistake(f"{key}.offset", f"{clear.offset:#x}", message)
    if size and clear.offset + width > size:
        message = f"lies outside BAR {register.bar}, which is {size:#x} bytes"
        yield Mistake(f"{key}.offset", _span(clear.offset, width), message)
    if clear.value >> 8 * width:
        message = f"has bits beyond the width, {width} bytes"
        yield Mistake(f"{key}.value", f"{clear.value:#x}", message)


def _shape(key: str, register: Register) -> Iterator[Mistake]:
    width = register.width
    if register.offset % width:
        message = f"must be a multiple of the width, {width}"
        yield Mistake(f"{key}.offset", f"{register.offset:#x}", message)
    if register.stride < width or register.stride % width:
        message = f"must be a multiple of the width, {width}"
        yield Mistake(f"{key}.stride", f"{register.stride:#x}", message)
    if register.mask >> 8 * width:
        message = f"has bits beyond the width, {width} bytes"
        yield Mistake(f"{key}.mask", f"{register.mask:#x}", message)


def _stop(parts: Parts) -> Iterator[Mistake]:
    for key, name, first in _repeated((key, stop.name) for key, stop in parts.stop):
        yield Mistake(f"{key}.name", f'"{name}"', f"is stopped by {first} already")
    registers = {register.name: register for _, register in parts.state}
    for key, stop in parts.stop:
        register = registers.get(stop.name)
        if not register:
            listed = ", ".join(name for name, one in registers.items() if one.width == 4)
            message = f"is not a state register; those of width 4 are: {listed or 'none'}"
            yield Mistake(f"{key}.name", f'"{stop.name}"', message)
            continue
        if register.width != 4:
            message = f"has width {register.width}; only a register of width 4 can stop the device"
            yield Mistake(f"{key}.name", f'"{stop.name}"', message)
        # The stride of a single register means nothing.
        fields = ("bar", "offset", "count", *(["stride"] if register.count > 1 else []))
        for field in fields:
            mine, theirs = getattr(stop, field), getattr(register, field)
            if mine != theirs:
                message = f"contradicts the state, where {stop.name} has {theirs:#x}"
                yield Mistake(f"{key}.{field}", f"{mine:#x}", message)
        if stop.clear & ~register.mask:
            message = f"has bits that the state's mask, {register.mask:#x}, does not restore"
            yield Mistake(f"{key}.clear", f"{stop.clear:#x}", message)


def _stopped(raw: dict[str, Any], parts: Parts) -> Iterator[Mistake]:
    """Yield the mistake of a PCI function of which nothing says how it is stopped."""
    migration = raw.get("migration")
    if raw.get("transport") != "pci" or not isinstance(migration, dict):
        return
    alone, stops = migration.get("bus_master_stops") is True, migration.get("stop")
    if not stops and not alone:
        message = (
            "nothing says how the device is stopped; name the bits that enable its queues, or say "
            "bus_master_stops = true if it does nothing else by itself than access memory"
        )
        yield Mistake("migration.stop", "", message)
    elif parts.stop and alone:
        message = "contradicts [[migration.stop]], which says what else it takes"
        yield Mistake("migration.bus_master_stops", "true", message)


def _drained(parts: Parts) -> Iterator[Mistake]:
    registers = {register.name: register for _, register in parts.state}
    for key, drained in parts.drained:
        register = registers.get(drained.register_name)
        if not register or register.width != 4:
            listed = ", ".join(name for name, one in registers.items() if one.width == 4)
            message = f"is not a 32-bit state register; those are: {listed or 'none'}"
            yield Mistake(f"{key}.register", f'"{drained.register_name}"', message)
        if drained.value & ~drained.mask:
            message = f"has bits that the mask, {drained.mask:#x}, does not look at"
            yield Mistake(f"{key}.value", f"{drained.value:#x}", message)


def _emulated(raw: dict[str, Any], parts: Parts) -> Iterator[Mistake]:
    """Yield the mistakes of a software device."""
    software, given = raw.get("transport") == "emulated", "emulated" in raw
    if software != given and raw.get("transport") in {"pci", "emulated"}:
        message = "belongs to transport emulated, and to no other"
        yield Mistake("emulated", "there" if given else "missing", message)
    if not software:
        return
    for key, bar in parts.bars:
        if bar.size > MAX_MEMORY:
            message = f"must not be larger than {MAX_MEMORY:#x} in a software device"
            yield Mistake(f"{key}.size", f"{bar.size:#x}", message)
    if parts.emulated:
        yield from _moving(parts.emulated, parts.state)


def _moving(emulated: Emulated, state: Sequence[tuple[str, Register]]) -> Iterator[Mistake]:
    """Yield the mistakes of the registers with which a software device does something."""
    registers = {register.name: register for _, register in state if register.width == 4}
    found = {}
    for field in ("counter", "doorbell", "address"):
        name = getattr(emulated, field)
        if name in registers:
            found[field] = registers[name]
        else:
            message = "is not a state register; those of width 4 are: " + (
                ", ".join(registers) or "none"
            )
            yield Mistake(f"emulated.{field}", f'"{name}"', message)
    if "counter" in found and found["counter"].count != 1:
        message = f"is {found['counter'].count} registers, must be one"
        yield Mistake("emulated.counter", f'"{emulated.counter}"', message)
    if {"doorbell", "address"} <= set(found):
        needed = 2 * found["doorbell"].count
        if found["address"].count != needed:
            message = f"is {found['address'].count} registers, must be two for each doorbell"
            yield Mistake("emulated.address", f'"{emulated.address}"', f"{message}, {needed}")


def _tables(value: Any) -> Iterator[dict[str, Any]]:
    yield from (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _span(offset: int, size: int) -> str:
    return f"{offset:#x}-{offset + size - 1:#x}"


def _repeated(items: Iterable[tuple[str, _T]]) -> Iterator[tuple[str, _T, str]]:
    """Yield key, value and key of the first one for each value that was there before."""
    seen: dict[_T, str] = {}
    for key, value in items:
        if value in seen:
            yield key, value, seen[value]
        else:
            seen[value] = key


def _overlaps(items: Iterable[tuple[str, int, int]]) -> Iterator[Mistake]:
    """Yield one mistake for each two entries of which pieces (key, offset, size) overlap."""
    reported = set()
    reach = ("", 0, 0)  # the piece so far that ends last
    for key, offset, size in sorted(items, key=lambda item: item[1:]):
        other, begin, length = reach
        if offset < begin + length and other != key and (other, key) not in reported:
            reported |= {(other, key), (key, other)}
            message = f"overlaps {other} at {_span(begin, length)}"
            yield Mistake(key, _span(offset, size), message)
        if offset + size > begin + length:
            reach = (key, offset, size)
