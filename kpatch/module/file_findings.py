# SPDX-License-Identifier: GPL-2.0-only
"""What there is to know of a module's file: how it is packed, what it lost, what its name is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from kpatch.kernel import elf
from kpatch.module import btf
from kpatch.module.finding import Finding

if TYPE_CHECKING:
    from kpatch.kernel.tree import KernelTree
    from kpatch.module.info import ModuleInfo


def check(info: ModuleInfo, tree: KernelTree | None) -> Iterator[Finding]:
    """Yield the findings."""
    if info.stripped:
        what = "It has no symbol table: it was stripped of more than debug information."
        why = "The kernel refuses it (module has no symbols; Exec format error)."
        yield Finding("problem", "symbols", what, why, "Strip it with `strip --strip-debug` only.")
    if tree:
        yield from _packing(info, tree)
        yield from _btf(info, tree)


def _packing(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    """Judge by what lib/decompress_unxz.c can do: CRC32 or no checksum, LZMA2.

    kmod hands a file to the kernel packed if that unpacks this very format.
    """
    packing = info.packing
    by_kernel = (
        "MODULE_DECOMPRESS" in tree.config
        and f"MODULE_COMPRESS_{packing.name.upper()}" in tree.config
    )
    if packing.name != "xz" or not by_kernel:
        return
    trouble = []
    if packing.check not in {"CRC32", "none"}:
        trouble.append(f"the checksum {packing.check}")
    if packing.filtered and "XZ_DEC_BCJ" not in tree.config:
        trouble.append("a filter in addition to LZMA2")
    if trouble:
        what = f"It is packed by xz with {' and '.join(trouble)}."
        why = "This kernel unpacks modules itself and cannot (decompression failed with status 6)."
        do = "Pack it with `xz --check=crc32 --lzma2=dict=1MiB`."
        yield Finding("problem", "packing", what, why, do)


def _btf(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    """Judge by btf_parse_module() of kernel/bpf/btf.c, where the tree has the kernel's BTF."""
    if not info.split_btf or "DEBUG_INFO_BTF_MODULES" not in tree.config:
        return
    base = _names_of(tree.host_path / "vmlinux")
    if base is None or btf.belongs(info.split_btf, base):
        return
    what = "Its BTF is based on another vmlinux."
    do = "Build it with the vmlinux of this very kernel in the tree, or without BTF."
    if "MODULE_ALLOW_BTF_MISMATCH" in tree.config:
        why = "The kernel loads it without its types (BTF mismatch detected)."
        yield Finding("warning", "btf", what, why, do)
    else:
        why = "The kernel refuses it (failed to validate module BTF; Invalid argument)."
        yield Finding("problem", "btf", what, why, do)


@lru_cache(maxsize=8)
def _names_of(vmlinux: Path) -> bytes | None:
    """Return the names of a kernel's BTF; None if they are not known."""
    # A damaged file can make pyelftools raise almost anything.
    with contextlib.suppress(Exception):
        file = elf.read(vmlinux.read_bytes(), str(vmlinux))
        return btf.names_of(elf.section(file, ".BTF"))
    return None
