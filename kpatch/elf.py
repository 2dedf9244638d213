# SPDX-License-Identifier: GPL-2.0-only
"""What pyelftools reads from kernel objects, as plain data."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from kpatch.errors import ModuleFileError


def read(data: bytes, name: str) -> ELFFile:
    """Return the ELF file in `data`.

    Raises:
        ModuleFileError: It is none; `name` is for the words.
    """
    try:
        return ELFFile(io.BytesIO(data))
    except (ELFError, ValueError, KeyError) as error:
        raise ModuleFileError(
            f"{name} is not a kernel module: it is not an ELF file ({error})."
        ) from error


def modinfo(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the module information in an object: each key with its values, in order."""
    return parse_modinfo(section(read(path.read_bytes(), str(path)), ".modinfo"))


def parse_modinfo(data: bytes) -> dict[str, tuple[str, ...]]:
    r"""Split the contents of a .modinfo section.

    >>> parse_modinfo(b"license=GPL\0alias=a\0\0alias=b=c\0")
    {'license': ('GPL',), 'alias': ('a', 'b=c')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in data.decode(errors="replace").split("\0"):
        key, equals, value = entry.partition("=")
        if equals:
            found[key] = (*found.get(key, ()), value)
    return found


def section(file: ELFFile, name: str) -> bytes:
    """Return the contents of a section; of one that is not there, nothing."""
    found = file.get_section_by_name(name)
    data: bytes = found.data() if found else b""
    return data


def struct_members(path: Path, names: Iterable[str]) -> Mapping[str, Mapping[str, int]]:
    """Return for each struct its members with their offsets, from the debug information.

    Of a struct that is not there the members are empty.
    """
    with path.open("rb") as file:
        return members_of(ELFFile(file), names)


def members_of(file: ELFFile, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return the members of structs, see `struct_members`."""
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for unit in file.get_dwarf_info().iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            if die.tag != "DW_TAG_structure_type" or "DW_AT_declaration" in die.attributes:
                continue
            name = _text(die, "DW_AT_name")
            if name in found and not found[name]:
                found[name] = {
                    _text(member, "DW_AT_name"): _number(member, "DW_AT_data_member_location")
                    for member in die.iter_children()
                    if member.tag == "DW_TAG_member"
                }
    return found


def _text(die: DIE, attribute: str) -> str:
    value: Any = die.attributes.get(attribute)
    return value.value.decode(errors="replace") if value else ""


def _number(die: DIE, attribute: str) -> int:
    value: Any = die.attributes.get(attribute)
    return value.value if value and isinstance(value.value, int) else 0
