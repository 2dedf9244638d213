# SPDX-License-Identifier: GPL-2.0-only
"""BTF of a module, which goes on where that of its kernel ends: Documentation/bpf/btf.rst."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal

_MAGIC = 0xEB9F
_HEADER = 24
_TYPE = 12
# For each kind of type what follows it: so many bytes once, so many for each of its entries, and
# whether these begin with a name.
_AFTER = {
    1: (4, 0, False),  # INT
    3: (12, 0, False),  # ARRAY
    4: (0, 12, True),  # STRUCT
    5: (0, 12, True),  # UNION
    6: (0, 8, True),  # ENUM
    13: (0, 8, True),  # FUNC_PROTO
    14: (4, 0, False),  # VAR
    15: (0, 12, False),  # DATASEC
    17: (4, 0, False),  # DECL_TAG
    19: (0, 12, True),  # ENUM64
}
_KINDS = 20


def names_of(btf: bytes) -> bytes | None:
    """Return the names of a BTF section, each with its final zero; None if it is damaged."""
    parts = _parts(btf)
    return parts[2] if parts else None


def belongs(btf: bytes, base: bytes) -> bool:
    """Whether the BTF of a module goes on after that of a kernel.

    Each name is a place in the kernel's names, or in those of the module that follow them. All
    places are the beginning of a name there, and most of the module's own names are among them:
    a name is there because something has it, but for one here and there whose type went. Built
    for a kernel with more names or with fewer, places are beyond the end or inside of names, or
    the module's names begin elsewhere.

    Args:
        btf: The section .BTF of the module.
        base: The names of the kernel.
    """
    parts = _parts(btf)
    if parts is None:
        return False
    order, types, names = parts
    try:
        places = set(_names(order, types))
    except struct.error:
        return False
    joined = base + names
    own = [len(base) + found.start() for found in re.finditer(rb"[^\0]+", names)]
    if 2 * sum(place in places for place in own) < len(own):
        return False
    return all(place < len(joined) and not (place and joined[place - 1]) for place in places)


def _parts(btf: bytes) -> tuple[Literal["<", ">"], bytes, bytes] | None:
    """Return byte order, types and names; None if it is damaged."""
    if len(btf) < _HEADER:
        return None
    order: Literal["<", ">"] = "<" if btf[:2] == _MAGIC.to_bytes(2, "little") else ">"
    magic, _, _, header, type_at, type_size, name_at, name_size = struct.unpack_from(
        order + "HBBIIIII", btf
    )
    if magic != _MAGIC:
        return None
    types = btf[header + type_at :][:type_size]
    names = btf[header + name_at :][:name_size]
    whole = len(types) == type_size and len(names) == name_size
    return (order, types, names) if whole else None


def _names(order: str, types: bytes) -> Iterator[int]:
    """Yield where the names of all types and of their entries are.

    Raises:
        struct.error: The types are damaged.
    """
    at = 0
    while at < len(types):
        name, info = struct.unpack_from(order + "II", types, at)
        yield name
        kind, entries = info >> 24 & 0x1F, info & 0xFFFF
        if kind >= _KINDS:
            raise struct.error("an unknown kind")
        once, each, named = _AFTER.get(kind, (0, 0, False))
        at += _TYPE + once
        if named:
            for entry in range(entries):
                yield struct.unpack_from(order + "I", types, at + entry * each)[0]
        at += entries * each
