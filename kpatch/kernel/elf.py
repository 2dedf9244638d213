# SPDX-License-Identifier: GPL-2.0-only
"""What pyelftools reads from kernel objects, as plain data."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from kpatch.errors import ModuleFileError

_ABSOLUTE = {"EM_X86_64": {1: 8, 10: 4}, "EM_AARCH64": {257: 8, 258: 4}}
"""By machine, the relocations that put an address, and the bytes that each takes."""


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


def struct_members(path: Path, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return for each struct its members with their offsets, from the debug information.

    Of a struct that is not there the members are empty.
    """
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for die in _top_level(read(path.read_bytes(), str(path)), "DW_TAG_structure_type"):
        name = _text(die, "DW_AT_name")
        if name in found and not found[name]:
            found[name] = _members(die)
    return found


def callbacks(file: ELFFile, struct: str) -> dict[str, dict[str, bool]]:
    """Return for each variable of type `struct` which of its members point to something.

    Static tables of functions are meant: a member is set where a relocation puts an address.
    Needs debug information; without it nothing is found.
    """
    found: dict[str, dict[str, bool]] = {}
    symbols: Any = file.get_section_by_name(".symtab")
    for die in _top_level(file, "DW_TAG_variable") if symbols else ():
        kind = _type(die)
        if not kind or kind.tag != "DW_TAG_structure_type" or _text(kind, "DW_AT_name") != struct:
            continue
        name = _text(die, "DW_AT_name")
        for symbol in symbols.get_symbol_by_name(name) or ():
            if isinstance(symbol["st_shndx"], int):
                places = _relocated(file, symbol["st_shndx"])
                found[name] = {
                    member: symbol["st_value"] + offset in places
                    for member, offset in _members(kind).items()
                }
    return found


def _top_level(file: ELFFile, tag: str) -> Iterator[DIE]:
    """Yield the definitions with a tag outside functions."""
    if not file.has_dwarf_info():
        return
    for unit in _dwarf(file).iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            if die.tag == tag and "DW_AT_declaration" not in die.attributes:
                yield die


def _dwarf(file: ELFFile) -> DWARFInfo:
    """Return the debug information.

    The library relocates all of its sections, one field at a time, which takes seconds of a driver;
    here one is needed.
    """
    if file["e_machine"] not in _ABSOLUTE or file.elfclass != 64 or not file.little_endian:
        return file.get_dwarf_info()
    info: Any = file.get_dwarf_info(relocate_dwarf_sections=False)
    stream = info.debug_info_sec.stream
    data = bytearray(stream.getvalue())
    if not _relocate(file, ".rela.debug_info", data):
        return file.get_dwarf_info()
    stream.seek(0)
    stream.write(data)
    found: DWARFInfo = info
    return found


def _relocate(file: ELFFile, name: str, data: bytearray) -> bool:
    """Put addresses in place; return False if a relocation is of another kind."""
    sizes = _ABSOLUTE[file["e_machine"]]
    values = [symbol[4] for symbol in struct.iter_unpack("<IBBHQQ", section(file, ".symtab"))]
    for offset, kind, addend in struct.iter_unpack("<QQq", section(file, name)):
        size = sizes.get(kind & 0xFFFFFFFF)
        if size is None:
            return False
        value = values[kind >> 32] + addend & (1 << 8 * size) - 1
        data[offset : offset + size] = value.to_bytes(size, "little")
    return True


def _type(die: DIE) -> DIE | None:
    """Return the type of a variable, without const and volatile."""
    while die.tag in {"DW_TAG_variable", "DW_TAG_const_type", "DW_TAG_volatile_type"}:
        if "DW_AT_type" not in die.attributes:
            return None
        die = die.get_DIE_from_attribute("DW_AT_type")
    return die


def _members(die: DIE) -> dict[str, int]:
    return {
        _text(member, "DW_AT_name"): _number(member, "DW_AT_data_member_location")
        for member in die.iter_children()
        if member.tag == "DW_TAG_member"
    }


def _relocated(file: ELFFile, section_index: int) -> frozenset[int]:
    """Return the offsets in a section at which addresses are put."""
    return frozenset(
        relocation["r_offset"]
        for part in file.iter_sections()
        if isinstance(part, RelocationSection) and part["sh_info"] == section_index
        for relocation in part.iter_relocations()
    )


def _text(die: DIE, attribute: str) -> str:
    value: Any = die.attributes.get(attribute)
    return value.value.decode(errors="replace") if value else ""


def _number(die: DIE, attribute: str) -> int:
    value: Any = die.attributes.get(attribute)
    return value.value if value and isinstance(value.value, int) else 0


def build_id(path: Path) -> bytes:
    """Return the build id note of a kernel object.

    It is as the kernel shows it below /sys/module; nothing if the object has none.
    """
    return section(read(path.read_bytes(), str(path)), ".note.gnu.build-id")
