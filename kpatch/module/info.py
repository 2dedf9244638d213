# SPDX-License-Identifier: GPL-2.0-only
"""Reads a built kernel module, ours or somebody else's, without loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from elftools.elf.elffile import ELFFile

from kpatch.errors import ModuleFileError
from kpatch.kernel import elf
from kpatch.module.packing import Packing, load, unpack

__all__ = ["Import", "ModuleInfo", "read"]

_SIGNED = b"~Module signature appended~\n"
_VERSION = 64  # size of an entry of __versions, include/linux/module.h: struct modversion_info


@dataclass(frozen=True)
class Import:
    """A symbol that a module takes from the kernel or from another module.

    Attributes:
        name: Its name.
        weak: Whether the module also loads without it.
    """

    name: str
    weak: bool


@dataclass(frozen=True)
class ModuleInfo:
    """What a module says of itself.

    Attributes:
        path: The file.
        machine: The processor, as in `e_machine` of its ELF header: "EM_X86_64".
        info: The module information: each key with its values.
        imports: The symbols it takes from elsewhere.
        versions: The versions of symbols it was built against; empty if it records none, as
            without CONFIG_MODVERSIONS. `module_layout` stands for struct module itself.
        dwarf: Whether it has debug information.
        btf: Whether it has BTF.
        signed: Whether a signature is appended.
        packing: How the file is compressed.
        stripped: Whether it has lost its table of symbols.
        split_btf: Its BTF, if that goes on after the BTF of one kernel and no other; else nothing.
        vfio_ops: For each `struct vfio_device_ops` of its own, which members are set. Empty
            without debug information.
    """

    path: Path
    machine: str
    info: Mapping[str, tuple[str, ...]]
    imports: tuple[Import, ...]
    versions: Mapping[str, int]
    dwarf: bool
    btf: bool
    signed: bool
    vfio_ops: Mapping[str, Mapping[str, bool]]
    packing: Packing = field(default_factory=Packing)
    stripped: bool = False
    split_btf: bytes = b""

    @property
    def name(self) -> str:
        """The module's name, what `lsmod` shows."""
        stem = self.path.name.partition(".")[0]
        return self._one("name") or stem.replace("-", "_")

    @property
    def loadable(self) -> str:
        """The file name by which modprobe finds it: depmod and modprobe go by names of files."""
        return f"{self.name}.ko{self.path.name.partition('.ko')[2]}"

    @property
    def vermagic(self) -> str:
        """The kernel release and the options it was built for; empty if it has none."""
        return self._one("vermagic").strip()

    @property
    def license(self) -> str:
        """The licence; empty if it has none."""
        return self._one("license")

    @property
    def depends(self) -> tuple[str, ...]:
        """The modules it says it needs."""
        return tuple(name for name in self._one("depends").split(",") if name)

    @property
    def aliases(self) -> tuple[str, ...]:
        """The patterns of devices for which it is loaded."""
        return self.info.get("alias", ())

    @property
    def parameters(self) -> Mapping[str, str]:
        """Its parameters, each with its description."""
        names = [text.partition(":")[0] for text in self.info.get("parmtype", ())]
        described = dict(text.split(":", 1) for text in self.info.get("parm", ()) if ":" in text)
        return {name: described.get(name, "") for name in dict.fromkeys([*names, *described])}

    def _one(self, key: str) -> str:
        return self.info.get(key, ("",))[0]


def read(path: Path) -> ModuleInfo:
    """Read a module, also one compressed by xz, gzip or zstd.

    Raises:
        ModuleFileError: It is not a kernel module, or cannot be read.
    """
    data, packing = unpack(load(path), path)
    try:
        return _info(path, elf.read(data, str(path)), data, packing)
    except ModuleFileError:
        raise
    except Exception as error:
        # A damaged file can make pyelftools raise almost anything.
        raise ModuleFileError(
            f"{path} is damaged: {type(error).__name__}: {error}. Copy or build it again."
        ) from error


def _info(path: Path, file: ELFFile, data: bytes, packing: Packing) -> ModuleInfo:
    for section in (".modinfo", ".gnu.linkonce.this_module"):
        if file["e_type"] != "ET_REL" or not file.get_section_by_name(section):
            raise ModuleFileError(
                f"{path} is an ELF file but not a kernel module: it has no section {section}. "
                "Name the .ko file, not an object it was linked from."
            )
    symbols: Any = file.get_section_by_name(".symtab")
    imports = tuple(
        Import(symbol.name, symbol["st_info"]["bind"] == "STB_WEAK")
        for symbol in (symbols.iter_symbols() if symbols else ())
        if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name
    )
    return ModuleInfo(
        path=path,
        machine=str(file["e_machine"]),
        info=elf.parse_modinfo(elf.section(file, ".modinfo")),
        imports=imports,
        versions=_versions(file),
        dwarf=file.get_section_by_name(".debug_info") is not None,
        btf=file.get_section_by_name(".BTF") is not None,
        signed=data.endswith(_SIGNED),
        vfio_ops=elf.callbacks(file, "vfio_device_ops"),
        packing=packing,
        stripped=not symbols,
        # With a base of its own, from 6.11 on, it is moved to any kernel that has these types.
        split_btf=b"" if elf.section(file, ".BTF.base") else elf.section(file, ".BTF"),
    )


def _versions(file: ELFFile) -> dict[str, int]:
    """Return the recorded versions by symbol, from both forms that kernels know."""
    order: Literal["little", "big"] = "little" if file.little_endian else "big"
    size = file.elfclass // 8
    data = elf.section(file, "__versions")
    found = {}
    for start in range(0, len(data) - _VERSION + 1, _VERSION):
        name = data[start + size : start + _VERSION].split(b"\0")[0].decode(errors="replace")
        found[name] = int.from_bytes(data[start : start + size], order) & 0xFFFFFFFF
    crcs = elf.section(file, "__version_ext_crcs")
    names = elf.section(file, "__version_ext_names").decode(errors="replace").split("\0")
    for number, name in zip(range(0, len(crcs), 4), names, strict=False):
        found[name] = int.from_bytes(crcs[number : number + 4], order)
    return found
