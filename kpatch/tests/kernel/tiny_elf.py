# SPDX-License-Identifier: GPL-2.0-only
"""Small kernel modules, made without a compiler: ELF files with the sections that are read."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_X86_64 = 62
_RELOCATABLE = 1
_PROGBITS, _SYMTAB, _STRTAB = 1, 2, 3
_GLOBAL, _WEAK = 1, 2


def module(
    info: Sequence[str],
    imports: Mapping[str, int] | None = None,
    *,
    weak: Sequence[str] = (),
    versions: bool = True,
    extended: bool = False,
    sections: Sequence[str] = (".gnu.linkonce.this_module",),
    machine: int = _X86_64,
    symbols: bool = True,
) -> bytes:
    """Return a module.

    Args:
        info: Its module information, "key=value".
        imports: The symbols it imports with their versions.
        weak: Those of them which may be missing.
        versions: Whether it records the versions.
        extended: Whether in the newer form, for long names.
        sections: Names of more sections, with a little of nothing in them.
        machine: For which processor.
        symbols: Whether it has its table of symbols.
    """
    imports = imports or {}
    contents = {".modinfo": b"".join(f"{text}\0".encode() for text in info)}
    contents |= dict.fromkeys(sections, b"\x00" * 64)
    if versions and extended:
        contents["__version_ext_crcs"] = b"".join(struct.pack("<I", c) for c in imports.values())
        contents["__version_ext_names"] = b"".join(f"{name}\0".encode() for name in imports)
    elif versions:
        contents["__versions"] = b"".join(
            struct.pack("<Q56s", crc, name.encode()) for name, crc in imports.items()
        )
    undefined = [name for name in imports if name != "module_layout"]
    names = b"\0" + b"".join(f"{name}\0".encode() for name in undefined)
    table = bytes(24)
    for name in undefined:
        at = names.index(f"\0{name}\0".encode()) + 1
        bind = _WEAK if name in weak else _GLOBAL
        table += struct.pack("<IBBHQQ", at, bind << 4, 0, 0, 0, 0)
    if symbols:
        contents[".strtab"] = names
        contents[".symtab"] = table
    return _file(contents, machine)


def _file(contents: Mapping[str, bytes], machine: int) -> bytes:
    """Lay the sections out after the header, and their table after them."""
    names = ["", *contents, ".shstrtab"]
    table = b"".join(f"{name}\0".encode() for name in names)
    parts = [b"", *contents.values(), table]
    offset = 64
    headers = b""
    for name, data in zip(names, parts, strict=True):
        kind = {"": 0, ".symtab": _SYMTAB, ".strtab": _STRTAB, ".shstrtab": _STRTAB}
        link = names.index(".strtab") if name == ".symtab" else 0
        at = table.index(f"\0{name}\0".encode()) + 1 if name else 0
        size = 24 if name == ".symtab" else 0
        headers += struct.pack(
            "<IIQQQQIIQQ", at, kind.get(name, _PROGBITS), 0, 0, offset, len(data), link, 1, 1, size
        )
        offset += len(data)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH",
        *(_RELOCATABLE, machine, 1, 0, 0, offset, 0, 64, 0, 0, 64, len(names), len(names) - 1),
    )
    return header + b"".join(parts) + headers
