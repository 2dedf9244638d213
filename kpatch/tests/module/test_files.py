# SPDX-License-Identifier: GPL-2.0-only
"""Files of modules: compressed, stripped, damaged, with BTF."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import shutil
import struct
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.errors import ModuleFileError
from kpatch.kernel.tree import KernelTree, find
from kpatch.module import btf, packing
from kpatch.module.diagnosis import diagnose
from kpatch.module.info import read
from kpatch.tests.fuzzing import drawn
from kpatch.tests.kernel.fake_tree import CONFIG, RELEASE, SYMBOLS, make_root, make_tree
from kpatch.tests.kernel.tiny_elf import module
from kpatch.tests.module.modules import IMPORTS, INFO, find_in, info_with, problems


def test_compressed_modules(tmp_path: Path) -> None:
    data = module(INFO, IMPORTS)
    for suffix, pack in (("xz", lzma.compress), ("gz", gzip.compress)):
        file = tmp_path / f"test.ko.{suffix}"
        file.write_bytes(pack(data))
        assert read(file).name == "test_vfio_pci"
        file.write_bytes(pack(data)[:-20])
        with pytest.raises(ModuleFileError, match="and damaged"):
            read(file)


@pytest.mark.parametrize("file", ["other.ko", "test-vfio-pci.ko", "2.0/other.v2.ko", "5010e7.ko"])
def test_file_whose_name_is_not_that_of_the_module(tmp_path: Path, file: str) -> None:
    place = tmp_path / file
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(module(INFO, IMPORTS))
    assert read(place).loadable == "test_vfio_pci.ko"
    packed = place.with_name(f"{place.name}.xz")
    packed.write_bytes(lzma.compress(place.read_bytes()))
    assert read(packed).loadable == "test_vfio_pci.ko.xz"


@pytest.mark.skipif(not shutil.which("zstd"), reason="the program zstd is not installed")
def test_module_compressed_by_zstd(tmp_path: Path) -> None:
    plain, file = tmp_path / "test.ko", tmp_path / "test.ko.zst"
    plain.write_bytes(module(INFO, IMPORTS))
    subprocess.run(["zstd", "-q", plain, "-o", file], check=True)
    assert read(file).name == "test_vfio_pci"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ModuleFileError, match="by zstd and damaged"):
        read(file)


@pytest.mark.parametrize("argv", [["zstd", "-q"], ["gzip"], ["xz"]])
def test_module_that_unpacks_to_more_than_a_disk_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    if not shutil.which(argv[0]):
        pytest.skip(f"the program {argv[0]} is not installed")
    monkeypatch.setattr(packing, "_LARGEST", 1 << 20)
    file = tmp_path / "test.ko.packed"
    file.write_bytes(subprocess.run(argv, input=bytes(5 << 20), stdout=-1, check=True).stdout)
    with pytest.raises(ModuleFileError, match="unpacks to more than 1 MiB"):
        read(file)


def test_module_compressed_by_zstd_without_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "test.ko.zst"
    file.write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(ModuleFileError, match=f"unpack it first: zstd -d {file}"):
        read(file)


UNPACKS = "CONFIG_MODULE_COMPRESS_XZ=y\nCONFIG_MODULE_DECOMPRESS=y\n"


@pytest.mark.parametrize(
    ("config", "check", "filters", "complaints"),
    [
        (UNPACKS, lzma.CHECK_CRC32, [], []),
        (UNPACKS, lzma.CHECK_NONE, [], []),
        (UNPACKS, lzma.CHECK_CRC64, [], ["packing: It is packed by xz with the checksum CRC64."]),
        (
            UNPACKS,
            lzma.CHECK_SHA256,
            [],
            ["packing: It is packed by xz with the checksum SHA-256."],
        ),
        (
            UNPACKS,
            lzma.CHECK_CRC32,
            [{"id": lzma.FILTER_X86}],
            ["packing: It is packed by xz with a filter in addition to LZMA2."],
        ),
        (f"{UNPACKS}CONFIG_XZ_DEC_BCJ=y\n", lzma.CHECK_CRC32, [{"id": lzma.FILTER_X86}], []),
        # kmod unpacks it: the kernel does not unpack at all, or another format
        ("CONFIG_MODULE_COMPRESS_XZ=y\n", lzma.CHECK_CRC64, [], []),
        (UNPACKS.replace("_XZ", "_ZSTD"), lzma.CHECK_CRC64, [], []),
    ],
)
def test_xz_that_the_kernel_cannot_unpack(
    config: str,
    check: int,
    filters: list[dict[str, Any]],
    complaints: list[str],
    tmp_path: Path,
) -> None:
    tree = KernelTree(make_tree(tmp_path / "tree", config=CONFIG + config))
    chain = [*filters, {"id": lzma.FILTER_LZMA2, "preset": 6}]
    file = tmp_path / "test.ko.xz"
    file.write_bytes(lzma.compress(module(INFO, IMPORTS), check=check, filters=chain))
    assert problems(diagnose(file, tree)) == complaints


@pytest.mark.parametrize(
    ("name", "space", "refused"),
    [
        ("kvm_intel", "module:kvm,kvm-intel", False),
        ("kvm-intel", "module:kvm_intel", False),
        ("kvm_amd", "module:kvm*", False),
        ("kvm_amd", "module:vfio,kvm-*", False),
        ("kvm_amd", "module:kvm,kvm-intel", True),
        ("xkvm", "module:kvm*", True),
    ],
)
def test_symbol_for_named_modules(name: str, space: str, refused: bool, tmp_path: Path) -> None:
    symbols = SYMBOLS.replace("module:kvm,kvm-intel", space)
    tree = KernelTree(make_tree(tmp_path / "tree", symbols=symbols))
    info, imports = info_with("name", name), {**IMPORTS, "closed": 0x66666666}
    assert bool(problems(find_in(tmp_path, tree, info, imports))) is refused


def test_kernel_that_heeds_no_namespace_only_warns(tmp_path: Path) -> None:
    config = f"{CONFIG}CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y\n"
    tree = KernelTree(make_tree(tmp_path / "tree", config=config))
    imports = {**IMPORTS, "closed": 0x66666666, "spaced": 0x44444444}
    found = find_in(tmp_path, tree, INFO, imports)
    assert problems(found) == []
    assert len(problems(found, "warning")) == 2


def test_stripped_module(tmp_path: Path, tree: KernelTree) -> None:
    found = find_in(tmp_path, tree, INFO, IMPORTS, symbols=False)
    assert problems(found) == [
        "symbols: It has no symbol table: it was stripped of more than debug information."
    ]


def test_name_of_a_module_of_linux(tmp_path: Path) -> None:
    installed = "kernel/drivers/vfio/pci/test-vfio-pci.ko.xz:\nkernel/vfio-pci-core.ko.xz:\n"
    tree = find(make_root(tmp_path / "root", RELEASE, installed=installed))
    shown = ["name: Linux has a module test_vfio_pci of its own: kernel/drivers/vfio/pci/"]
    found = problems(find_in(tmp_path, tree, INFO, IMPORTS), "warning")
    assert [one[: len(shown[0])] for one in found] == shown
    assert problems(find_in(tmp_path, tree, (*INFO, "intree=Y"), IMPORTS), "warning") == []


def btf_of(names: bytes, *places: int) -> bytes:
    """BTF with a typedef for each place of a name."""
    types = b"".join(struct.pack("<III", place, 8 << 24, 1) for place in places)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    return head + types + names


# A hundred names of nine letters each: a place is the beginning of one if it ends in 0.
KERNEL = b"\0" + b"nine_let\0\0" * 100


@pytest.mark.parametrize(
    ("kernel", "belongs"),
    [
        pytest.param(KERNEL, True, id="its own"),
        pytest.param(KERNEL[:-1], False, id="one byte less"),
        pytest.param(KERNEL + b"\0", False, id="one byte more"),
        pytest.param(KERNEL[:-10], False, id="a name less"),
        pytest.param(KERNEL + b"nine_let\0\0", False, id="a name more"),
        pytest.param(KERNEL * 2, False, id="twice as many names"),
        pytest.param(KERNEL[:1], False, id="no names"),
        pytest.param(KERNEL.replace(b"\0", b"e")[:-1] + b"\0", False, id="other names"),
    ],
)
def test_btf_of_another_kernel(kernel: bytes, belongs: bool) -> None:
    mine = btf_of(b"one\0two\0", 11, 1001, 1005)
    assert btf.names_of(btf_of(KERNEL)) == KERNEL
    assert btf.belongs(mine, kernel) == belongs
    assert not btf.belongs(mine[:-1], kernel)


@pytest.mark.parametrize(("used", "belongs"), [((0, 4), True), ((4,), True), ((), False)])
def test_names_of_a_module_that_nothing_has(used: tuple[int, ...], belongs: bool) -> None:
    """The first name of device_dax in Debian 13 is that of a type which is not there."""
    mine = btf_of(b"one\0two\0", 11, *(1001 + place for place in used))
    assert btf.belongs(mine, KERNEL) is belongs


@given(st.binary(max_size=80), st.binary(max_size=100))
def test_damaged_btf_is_no_error(junk: bytes, base: bytes) -> None:
    btf.belongs(b"\x9f\xeb" + junk, base)
    assert btf.names_of(junk) is None or junk[:2] in (b"\x9f\xeb", b"\xeb\x9f")


def test_file_that_is_no_module(tmp_path: Path) -> None:
    file = tmp_path / "test.ko"
    for data, complaint in (
        (b"", "is not an ELF file"),
        (b"#!/bin/sh\n", "is not an ELF file"),
        (gzip.compress(b""), "is not an ELF file"),
        (lzma.compress(b""), "is not an ELF file"),
        (lzma.compress(module(INFO, IMPORTS)[:-200]), "is damaged"),
        (module((), sections=()), r"has no section \.gnu\.linkonce\.this_module"),
    ):
        file.write_bytes(data)
        with pytest.raises(ModuleFileError, match=complaint) as caught:
            read(file)
        assert caught.value.exit_code == 2
    with pytest.raises(ModuleFileError, match="cannot be read: No such file"):
        read(tmp_path / "nowhere.ko")
    with pytest.raises(ModuleFileError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_file_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_LARGEST", 1 << 20)
    with pytest.raises(ModuleFileError, match="/dev/zero has more than 1 MiB"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize("pack", [bytes, lzma.compress, gzip.compress])
def test_reading_a_module_takes_no_more_memory_than_it_has(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """A test machine may have less than the largest module would take."""
    (tmp_path / "test.ko").write_bytes(pack(module(INFO, IMPORTS)))
    tracemalloc.start()
    read(tmp_path / "test.ko")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@drawn(100)
@given(st.integers(0, 2000), st.binary(max_size=8), st.booleans())
def test_damaged_module_is_an_error_in_words(
    tmp_path: Path, tree: KernelTree, at: int, junk: bytes, cut: bool
) -> None:
    data = module(INFO, IMPORTS)
    at %= len(data)
    file = tmp_path / "test.ko"
    file.write_bytes(data[:at] if cut else data[:at] + junk + data[at + len(junk) :])
    with contextlib.suppress(ModuleFileError):
        diagnose(file, tree)
