# SPDX-License-Identifier: GPL-2.0-only
"""From a description and a kernel's features to the variables of the templates.

All names, sizes and orders are computed here, so that templates have only plain loops and `if`.
"""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from kpatch.device.description import Bar, Device, Drained, Elsewhere, Register
from kpatch.device.ring import Ring
from kpatch.device.values import whole_mask
from kpatch.kernel.features import Features
from kpatch.render.form import MODULE, Form, follows, keeps_log, restricts, sources

_MUST_ARCS = (
    "0->1",
    "0->2",
    "1->0",
    "1->2",
    "1->3",
    "1->4",
    "2->0",
    "2->1",
    "3->1",
    "3->2",
    "4->1",
)
"""Transitions that every driver accepts, besides that from a state to itself."""

_STATES = (0, 1, 2, 3, 4)
_ENTRY = 68  # columns of an entry of a list in a comment of several lines, or in a message
_COMMENT = 60  # columns that are left for a list in a comment of one line


def variables(device: Device, features: Features, form: Form = MODULE) -> dict[str, Any]:
    """Return the template variables.

    `device`, `prefix`, `PREFIX`, `module`, `summary`, `source` name things; `ids` has vendor and
    device as C numbers; `all_bars`, `used_bars` (with state) and `bars` (with traps) are BARs;
    `registers` is the state, in order, `state_count` the number of its values and `layout_id`
    tells one layout of it from another, `after_start` and `clear` say whether any register has
    such a key, `stops` whether bits of one stop the device or may be asked for, `partial` whether
    one has bits that are no state, or that are treated apart; `sized` says whether some accesses
    to registers are not of 4 bytes; `drained` is what to wait for, `elsewhere` has the lines of
    each entry of what is not in the stream;
    `arcs` lists for each state those that may follow;
    `padding` is that of the description, as are `data_size`, `data_mmap`, `data_mmap_size` and
    `chunk_size` of its region; `region_precopy` and `precopy` say whether version 1 and 2 have
    pre-copy, `identity` whether one of them; `k` has the features of the kernel. `intree`,
    `migration` and `saving` are those of `form`; of its protocols `v1` and `v2` say which are among
    them, `both` whether it is more than one, and `interface` is the name; `p2p` says whether the
    device has the peer-to-peer states, `states` lists the groups of states in words; `wrapped` says
    whether the ledger has to wrap vfio-pci-core's operations on a vma; `iomap`,
    `core_region_info`, `region_ioctl`, `region_info`, `vm_flags_set` and `storage` name functions
    of the kernel, or of the layer over it, as they are called there. `kind` is what the driver
    is, `guard` protects its header, `objects` is what it is linked from, `vendor` and `pci_device`
    are expressions for the ids. `emulated` says whether it is a software device, whose moving
    registers are `counter`, `doorbell` and `address`. `rings` are the kinds of rings that the
    driver follows, `known_rings` those whose place it knows, `unknown_rings` whether there are
    others, `ring_count` how many rings it knows, `ring_unaligned` whether one of them may begin
    inside a descriptor's size; `ring_formats`, `ring_descriptor` and `ring_buffer` are the most
    that one needs of each.
    """
    migration = device.migration
    stops = {stop.name: stop.clear for stop in migration.stop}
    stopped_by_bits = bool(stops or migration.ring)
    used = {register.bar for register in migration.state}
    bars = sorted(device.bars, key=lambda bar: bar.index)
    return {
        "device": device.name,
        "prefix": device.prefix,
        "PREFIX": device.prefix.upper(),
        "module": device.module,
        "summary": device.summary,
        "source": f"{device.name}.toml",
        "ids": [
            {"vendor": f"0x{one.vendor:04x}", "device": f"0x{one.device:04x}"} for one in device.ids
        ],
        "all_bars": [_bar(bar) for bar in bars],
        "used_bars": [_bar(bar) for bar in bars if bar.index in used],
        "bars": [_trapped(bar) for bar in bars if bar.trapped_while_saving],
        "registers": [
            {**register.model_dump(), "stop": stops.get(register.name, 0)}
            for register in migration.state
        ],
        "after_start": any(register.after_start for register in migration.state),
        "clear": any(register.clear for register in migration.state),
        "stops": stopped_by_bits,
        "partial": stopped_by_bits
        or any(one.mask != whole_mask(one.width) for one in migration.state),
        "sized": device.emulated or any(one.width != 4 for one in migration.state),
        "drained": [_drained(one, migration.state) for one in migration.drained],
        "elsewhere": [_elsewhere(one) for one in migration.elsewhere],
        "state_count": sum(register.count for register in migration.state),
        "layout_id": layout_id(migration.state),
        "padding": migration.padding,
        "k": features,
        **_form(device, features, form),
        **(_software(device) if device.emulated else _PCI),
        "guard": f"{device.module.upper()}_H",
        **_protocol(device, features, form),
    }


_OBJECTS_WIDTH = 78  # columns that are left in Kbuild for what is linked
_INTERFACES = {
    ("v1",): "the v1 migration region",
    ("v2",): "the v2 migration protocol",
    ("v1", "v2"): "both migration protocols",
}


def _protocol(device: Device, features: Features, form: Form) -> dict[str, Any]:
    """Return what depends on the versions of the protocol."""
    objects = " ".join(
        name.replace(".c", ".o") for name in sources(device, features, form) if name.endswith(".c")
    )
    v1, v2 = "v1" in form.protocols, "v2" in form.protocols
    region = device.migration.v1 if v1 else None
    states = device.migration.v2 if v2 else None
    region_precopy = bool(region and region.precopy)
    precopy = bool(states and states.precopy and features.precopy)
    p2p = bool(states and states.p2p)
    return {
        "v1": v1,
        "v2": v2,
        "both": v1 and v2,
        "logged": keeps_log(device, features, form),
        "arcs": arcs(region.accept_free_arcs if region else ()),
        "data_size": region.data_size if region else 0,
        "data_mmap": bool(region and region.data_mmap),
        "data_mmap_size": region.data_mmap_size if region else 0,
        "chunk_size": region.chunk_size if region else 0,
        "region_precopy": region_precopy,
        "precopy": precopy,
        "identity": region_precopy or precopy,
        "p2p": p2p,
        "states": _listed(
            ["STOP_COPY", *(["P2P"] if p2p else []), *(["PRE_COPY"] if precopy else [])]
        ),
        "interface": _INTERFACES[form.protocols],
        "objects": " \\\n\t".join(textwrap.wrap(objects, _OBJECTS_WIDTH)),
    }


def _listed(words: Sequence[str]) -> str:
    """Return a list in words.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _form(device: Device, features: Features, form: Form) -> dict[str, Any]:
    """Return what depends on where the driver lives."""
    saving = restricts(device, form)
    core_info = "vfio_pci_ioctl_get_region_info"
    found: dict[str, Any] = {
        "intree": form.intree,
        "migration": form.migration,
        "saving": saving,
        **_rings(device, followed=follows(device, features, form)),
        "wrapped": not form.intree,
        "iomap": "compat_vfio_pci_iomap",
        "core_region_info": "compat_vfio_pci_get_region_info",
        "region_ioctl": "compat_vfio_pci_ioctl",
        "vm_flags_set": "vm_flags_set" if form.intree else "compat_vm_flags_set",
        "region_info": f"{device.prefix}_get_region_info" if saving else core_info,
        "storage": "static inline",  # in a header
    }
    if form.intree:
        own = f"{device.prefix}_bar_info"
        found["iomap"] = "vfio_pci_core_get_iomap"
        found["core_region_info"] = core_info if features.get_region_info_caps else own
        found["region_ioctl"] = f"{device.prefix}_region_ioctl"
        found["storage"] = "static"
    return found


_PCI = {
    "emulated": False,
    "kind": "VFIO variant driver",
    "vendor": "pdev->vendor",
    "pci_device": "pdev->device",
}


def _rings(device: Device, *, followed: bool) -> dict[str, Any]:
    """Return the rings that the driver follows, none unless they are `followed`."""
    registers = {register.name: register for register in device.migration.state}
    rings = [_ring(ring, registers) for ring in device.migration.ring] if followed else []
    known = [ring for ring in rings if ring["known"]]
    return {
        "rings": rings,
        "known_rings": known,
        "unknown_rings": len(known) < len(rings),
        "ring_count": sum(ring["count"] for ring in known),
        "ring_unaligned": any(one["base_mask"] & (one["descriptor_size"] - 1) for one in known),
        "ring_formats": max((len(ring["formats"]) for ring in rings), default=0),
        "ring_descriptor": max((ring["descriptor_size"] for ring in known), default=0),
        "ring_buffer": max((ring["largest"] for ring in known), default=0),
    }


def _ring(ring: Ring, registers: Mapping[str, Register]) -> dict[str, Any]:
    tail, buffer = registers[ring.tail], ring.buffer
    offsets = {key: registers[name].offset for key, name in ring.registers.items()}
    found: dict[str, Any] = {
        "name": ring.name,
        "bar": tail.bar,
        "count": tail.count,
        "stride": tail.stride,
        "tail": tail.offset,
        "tail_mask": tail.mask,
        "known": bool(ring.base),
        "formats": [
            {
                "offset": offsets[f"format[{number}].register"],
                "mask": one.mask,
                "values": list(one.values),
            }
            for number, one in enumerate(ring.format)
        ],
        "buffer": None,
        "largest": 0,
        "offsets": sorted(set(offsets.values()) - {tail.offset}),
    }
    if ring.base and ring.head and ring.descriptor_size:
        found |= {key: offsets[key] for key in ("base", "base_high", "length", "head", "enable")}
        found |= {
            "base_mask": registers[ring.base].mask,
            "head_mask": registers[ring.head].mask,
            "length_mask": ring.length_mask,
            "length_unit": _length_unit(ring),
            "enable_mask": ring.enable_mask,
            "descriptor_size": ring.descriptor_size,
        }
    if buffer:
        found["largest"] = buffer.largest
        found["buffer"] = {
            "low": buffer.address[0],
            "high": buffer.address[1],
            "size": buffer.size,
            "register": offsets.get("buffer.register"),
            "mask": buffer.mask or 0,
            "unit": buffer.unit or 0,
            "done": buffer.done,
            "done_mask": buffer.done_mask,
        }
    return found


def _length_unit(ring: Ring) -> int:
    """Return what a descriptor adds to the length register."""
    mask, size = ring.length_mask or 1, ring.descriptor_size or 1
    return size if ring.length_in == "bytes" else mask & -mask


def _software(device: Device) -> dict[str, Any]:
    """Return what there is only in a software device, or what it has instead."""
    assert device.emulated
    registers = {register.name: register.model_dump() for register in device.migration.state}
    names = device.emulated.model_dump()
    return {
        "emulated": True,
        "kind": "VFIO driver",
        "vendor": f"{device.prefix.upper()}_VENDOR",
        "pci_device": f"{device.prefix.upper()}_DEVICE",
        "region_ioctl": "compat_vfio_region_info_ioctl",
        "region_info": f"{device.prefix}_get_region_info",
        "wrapped": False,
        **{field: registers[name] for field, name in names.items()},
    }


def layout_id(state: Sequence[Register]) -> int:
    """Return a number, never 0, which differs where the registers of two states differ.

    Names may change without a change of the layout; what is restored where may not.
    """
    text = "\n".join(
        f"{one.bar} {one.offset} {one.width} {one.count} {one.stride} {one.mask}" for one in state
    )
    return zlib.crc32(text.encode()) or 1


def arcs(free: Sequence[str]) -> list[list[int]]:
    """Return for each value of device_state, 0 to 7, the states that may be written.

    >>> arcs(["2->3"])[:5]
    [[0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3], [1, 2, 3], [1, 4]]
    """
    pairs = {(int(arc[0]), int(arc[-1])) for arc in (*_MUST_ARCS, *free)}
    pairs |= {(state, state) for state in _STATES}
    return [sorted(after for before, after in pairs if before == state) for state in range(8)]


def _drained(drained: Drained, state: Sequence[Register]) -> dict[str, Any]:
    register = next(one for one in state if one.name == drained.register_name)
    return {**drained.model_dump(), "register": register.model_dump()}


def _elsewhere(one: Elsewhere) -> list[str]:
    """Return the lines of an entry for a list in a comment or a message."""
    where = "lost" if one.held_by == "lost" else f"held by the {one.held_by}"
    return textwrap.wrap(f"{one.what}: {where}; {one.why}", _ENTRY, break_on_hyphens=False)


def _bar(bar: Bar) -> dict[str, Any]:
    mask = (-bar.size & 0xFFFFFFFF).to_bytes(4, "little")
    return {"index": bar.index, "size": bar.size, "address_mask": list(mask)}


def _trapped(bar: Bar) -> dict[str, Any]:
    traps = sorted(bar.trapped_while_saving, key=lambda trap: trap.offset)
    return {
        **_bar(bar),
        "areas": [area.model_dump() for area in bar.saving_areas],
        "traps": [trap.model_dump() for trap in traps],
        "reasons": _reasons([trap.why for trap in traps]),
    }


def _reasons(whys: Sequence[str]) -> str:
    """Return a list for a comment, with the blank before it."""
    text = " and".join(f" {why}" for why in dict.fromkeys(whys))
    return text if len(text) <= _COMMENT else " the trapped ranges"
