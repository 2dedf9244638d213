# SPDX-License-Identifier: GPL-2.0-only
"""Whether a kernel will load a module is told before, in words."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpatch.errors import ModuleFileError
from kpatch.kernel.tree import KernelTree, find
from kpatch.module import btf
from kpatch.module.finding import Finding
from kpatch.module.info import diagnose, read
from kpatch.tests.kernel.fake_tree import CONFIG, RELEASE, SYMBOLS, VERMAGIC, make_root, make_tree
from kpatch.tests.kernel.tiny_elf import module

INFO = (
    "description=Test driver",
    "license=GPL",
    "alias=vfio_pci:v00008086d000010CAsv*sd*bc*sc*i*",
    "depends=vfio-pci-core",
    "name=test_vfio_pci",
    f"vermagic={VERMAGIC}",
    "parmtype=debug:int",
    "parm=debug:Say more",
)
IMPORTS = {
    "module_layout": 0x55555555,
    "kfree": 0x11111111,
    "vfio_pci_core_register_dev_region": 0x22222222,
    "__fentry__": 0,
}


def info_with(key: str, *values: str) -> tuple[str, ...]:
    """The module information with other values of a key."""
    kept = [text for text in INFO if not text.startswith(f"{key}=")]
    return (*kept, *(f"{key}={value}" for value in values))


def find_in(tmp_path: Path, tree: KernelTree | None, *args: Any, **kwargs: Any) -> list[Finding]:
    """What is found of a module that is made for it."""
    file = tmp_path / "test.ko"
    file.write_bytes(module(*args, **kwargs))
    return diagnose(file, tree)


def problems(findings: list[Finding], level: str = "problem") -> list[str]:
    """What is found to be wrong, by topic; each with reason and remedy."""
    bad = [one for one in findings if one.level == level]
    assert all(one.why for one in bad)
    assert all(one.do for one in bad if level == "problem")
    return [f"{one.topic}: {one.what}" for one in bad]


@pytest.fixture
def tree(tmp_path: Path) -> KernelTree:
    return KernelTree(make_tree(tmp_path / "tree"))


def test_what_a_module_says_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "other-name.ko"
    sections = (".gnu.linkonce.this_module", ".BTF")
    file.write_bytes(module(INFO, IMPORTS, weak=["kfree"], sections=sections))
    info = read(file)
    assert (info.name, info.license, info.vermagic) == ("test_vfio_pci", "GPL", VERMAGIC.strip())
    assert info.depends == ("vfio-pci-core",)
    assert info.parameters == {"debug": "Say more"}
    assert [(one.name, one.weak) for one in info.imports][:2] == [
        ("kfree", True),
        ("vfio_pci_core_register_dev_region", False),
    ]
    assert info.versions["module_layout"] == 0x55555555
    assert (info.machine, info.btf, info.dwarf, info.signed) == ("EM_X86_64", True, False, False)


def test_module_that_is_good(tmp_path: Path, tree: KernelTree) -> None:
    findings = find_in(tmp_path, tree, INFO, IMPORTS)
    assert problems(findings) == []
    topics = [one.topic for one in findings if one.level == "ok"]
    assert topics == ["vermagic", "license", "symbols", "versions", "devices"]
    told = {one.topic: one.what for one in findings}
    assert told["symbols"] == "All 3 imported symbols were found: 1 in vfio_pci_core, 2 in vmlinux."
    assert told["versions"] == "All 4 symbol versions are the kernel's."
    assert told["devices"] == "It is a VFIO driver for 8086:10ca."


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"info": info_with("vermagic", VERMAGIC.replace("preempt ", ""))},
            "vermagic: Its vermagic lacks preempt, unlike the kernel's.",
        ),
        ({"info": info_with("vermagic")}, "vermagic: It has no vermagic."),
        ({"info": info_with("license", "Proprietary")}, "license: The licence is Proprietary."),
        ({"info": info_with("license")}, "license: It names no licence."),
        (
            {"imports": {**IMPORTS, "gone": 1}},
            f"symbols: It needs gone, which nothing in {RELEASE} exports.",
        ),
        (
            {"imports": {**IMPORTS, "spaced": 0x44444444}},
            "symbols: It uses symbols of the namespace SPACE and does not import it.",
        ),
        (
            {"imports": {**IMPORTS, "closed": 0x66666666}},
            "symbols: It uses symbols that are exported for kvm and kvm-intel only.",
        ),
        (
            {"imports": {**IMPORTS, "module_layout": 0x99}},
            "versions: The version of module_layout (0x00000099, kernel 0x55555555) is not that "
            "of the kernel.",
        ),
        ({"versions": False}, "versions: It records no versions of the symbols it imports, the"),
        ({"machine": 183}, "machine: It is for another processor: EM_AARCH64, the kernel is for"),
    ],
)
def test_what_the_kernel_refuses(
    change: dict[str, Any], complaint: str, tmp_path: Path, tree: KernelTree
) -> None:
    arguments = {"info": INFO, "imports": IMPORTS, **change}
    found = problems(find_in(tmp_path, tree, **arguments))
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_vermagic_may_have_what_the_configuration_does_not_tell(
    tmp_path: Path, tree: KernelTree
) -> None:
    info = info_with("vermagic", f"{VERMAGIC}RANDSTRUCT_0123abcd ")
    assert problems(find_in(tmp_path, tree, info, IMPORTS)) == []


def test_symbol_without_a_version(tmp_path: Path, tree: KernelTree) -> None:
    file = tmp_path / "test.ko"
    whole = module(INFO, IMPORTS)
    file.write_bytes(whole.replace(b"kfree\0\0\0", b"ktree\0\0\0", 1))
    assert problems(diagnose(file, tree)) == ["versions: It records no version of kfree."]


def test_long_names_have_versions_too(tmp_path: Path, tree: KernelTree) -> None:
    imports = {**IMPORTS, "vfio_pci_core_register_dev_region": 7}
    found = problems(find_in(tmp_path, tree, INFO, imports, extended=True))
    assert "vfio_pci_core_register_dev_region (0x00000007, kernel 0x22222222)" in found[0]


def test_weak_symbol_may_be_missing(tmp_path: Path, tree: KernelTree) -> None:
    findings = find_in(tmp_path, tree, INFO, {**IMPORTS, "gone": 1}, weak=["gone"])
    assert problems(findings) == []


def test_namespace_that_is_imported(tmp_path: Path, tree: KernelTree) -> None:
    imports = {**IMPORTS, "spaced": 0x44444444}
    assert problems(find_in(tmp_path, tree, (*INFO, "import_ns=SPACE"), imports)) == []


def test_many_symbols_are_not_all_listed(tmp_path: Path, tree: KernelTree) -> None:
    imports = {f"gone_{number}": 1 for number in range(40)}
    found = problems(find_in(tmp_path, tree, INFO, imports))
    assert "gone_5 and 34 more, which nothing" in found[0]


def test_other_release(tmp_path: Path, tree: KernelTree) -> None:
    """With module versions it is for them to decide; without, it is the end."""
    other = info_with("vermagic", VERMAGIC.replace(RELEASE, "6.1.0-other"))
    findings = find_in(tmp_path, tree, other, IMPORTS)
    assert problems(findings) == []
    told = f"vermagic: It was built for Linux 6.1.0-other, the kernel is {RELEASE}."
    assert problems(findings, "warning") == [told]
    config = CONFIG.replace("CONFIG_MODVERSIONS=y\n", "")
    plain = KernelTree(make_tree(tmp_path / "plain", config=config))
    other = info_with("vermagic", "6.1.0-other SMP preempt mod_unload ")
    assert problems(find_in(tmp_path, plain, other, IMPORTS, versions=False)) == [told]


def test_other_release_than_that_of_the_tree(tmp_path: Path, tree: KernelTree) -> None:
    file = tmp_path / "test.ko"
    file.write_bytes(module(INFO, IMPORTS))
    found = problems(diagnose(file, tree, release="6.12.10-running"), "warning")
    assert found[0].endswith("the kernel is 6.12.10-running.")


def test_licence_without_symbols_for_gpl_modules_taints(tmp_path: Path, tree: KernelTree) -> None:
    findings = find_in(tmp_path, tree, info_with("license", "BSD"), {"kfree": 0x11111111})
    assert problems(findings) == []
    assert problems(findings, "warning") == ["license: The licence is BSD."]


def test_driver_that_takes_devices_from_the_host(tmp_path: Path, tree: KernelTree) -> None:
    aliases = info_with("alias", "pci:v00008086d000010CAsv*sd*bc*sc*i*")
    assert problems(find_in(tmp_path, tree, aliases, IMPORTS), "warning") == [
        "devices: It names no device in the way of VFIO drivers (alias vfio_pci:...).",
        "devices: It claims 8086:10ca as an ordinary driver (alias pci:...).",
    ]


def test_ordinary_module_is_not_judged_as_a_vfio_driver(tmp_path: Path, tree: KernelTree) -> None:
    aliases = info_with("alias", "pci:v00008086d000010CAsv*sd*bc*sc*i*")
    findings = find_in(tmp_path, tree, aliases, {"kfree": 0x11111111})
    assert [one for one in findings if one.topic == "devices"] == []


@pytest.mark.parametrize(
    ("member", "config", "complaint"),
    [
        ("match_token_uuid", "", "Opening the device dereferences it: the kernel oopses."),
        ("get_region_info_caps", "", "Every VFIO_DEVICE_GET_REGION_INFO is Invalid argument."),
        ("detach_ioas", "CONFIG_IOMMUFD=m\n", "With CONFIG_IOMMUFD the device is not registered"),
    ],
)
def test_callback_that_is_missed_only_in_use(
    member: str, config: str, complaint: str, tmp_path: Path
) -> None:
    """Where the kernel's struct has the member; in an older kernel nothing is missed."""
    tree = KernelTree(make_tree(tmp_path / "tree", config=CONFIG + config))
    file = tmp_path / "test.ko"
    file.write_bytes(module(INFO, IMPORTS))
    info = read(file)
    other = {"open_device": True, "dma_unmap": False}
    for ops, count in (({**other, member: False}, 1), ({**other, member: True}, 0), (other, 0)):
        found = diagnose(dataclasses.replace(info, vfio_ops={"test_ops": ops}), tree)
        bad = [one for one in found if one.level == "problem"]
        assert len(bad) == count
        for one in bad:
            assert one.what.startswith(f"test_ops does not set {member}, which this kernel's")
            assert one.why.startswith(complaint)


@pytest.mark.parametrize(("force", "level"), [("", "note"), ("CONFIG_MODULE_SIG_FORCE=y\n", "pr")])
def test_module_that_is_not_signed(force: str, level: str, tmp_path: Path) -> None:
    config = f"{CONFIG}CONFIG_MODULE_SIG=y\n{force}"
    tree = KernelTree(make_tree(tmp_path / "tree", config=config))
    told = {one.topic: one.level for one in find_in(tmp_path, tree, INFO, IMPORTS)}
    assert told["signature"].startswith(level)
    file = tmp_path / "signed.ko"
    file.write_bytes(module(INFO, IMPORTS) + b"~Module signature appended~\n")
    assert "signature" not in {one.topic for one in diagnose(file, tree)}


def test_module_it_needs_is_not_installed(tmp_path: Path) -> None:
    installed = "kernel/drivers/vfio/pci/vfio-pci-core.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n"
    tree = find(make_root(tmp_path / "root", RELEASE, installed=installed))
    assert problems(find_in(tmp_path, tree, INFO, IMPORTS)) == []
    other = find_in(tmp_path, tree, info_with("depends", "vfio-pci-core,mdev"), IMPORTS)
    assert problems(other) == [
        f"depends: It needs the module mdev, which is not installed for {RELEASE}."
    ]


def test_without_a_tree_only_the_module_itself_is_judged(tmp_path: Path) -> None:
    findings = find_in(tmp_path, None, INFO, {**IMPORTS, "gone": 1})
    assert problems(findings) == []
    assert "Its 4 imported symbols were not looked up." in [one.what for one in findings]


def test_compressed_modules(tmp_path: Path) -> None:
    data = module(INFO, IMPORTS)
    for suffix, pack in (("xz", lzma.compress), ("gz", gzip.compress)):
        file = tmp_path / f"test.ko.{suffix}"
        file.write_bytes(pack(data))
        assert read(file).name == "test_vfio_pci"
        file.write_bytes(pack(data)[:-20])
        with pytest.raises(ModuleFileError, match="and damaged"):
            read(file)


@pytest.mark.skipif(not shutil.which("zstd"), reason="the program zstd is not installed")
def test_module_compressed_by_zstd(tmp_path: Path) -> None:
    plain, file = tmp_path / "test.ko", tmp_path / "test.ko.zst"
    plain.write_bytes(module(INFO, IMPORTS))
    subprocess.run(["zstd", "-q", plain, "-o", file], check=True)
    assert read(file).name == "test_vfio_pci"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ModuleFileError, match="by zstd and damaged"):
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
            ["packing: It is packed by xz with a filter beside LZMA2."],
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
    told = ["name: Linux has a module test_vfio_pci of its own: kernel/drivers/vfio/pci/"]
    found = problems(find_in(tmp_path, tree, INFO, IMPORTS), "warning")
    assert [one[: len(told[0])] for one in found] == told
    assert problems(find_in(tmp_path, tree, (*INFO, "intree=Y"), IMPORTS), "warning") == []


def btf_of(names: bytes, *places: int) -> bytes:
    """BTF with a typedef for each place of a name."""
    types = b"".join(struct.pack("<III", place, 8 << 24, 1) for place in places)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    return head + types + names


def test_btf_of_another_kernel() -> None:
    mine = btf_of(b"one\0two\0", 5, 1000, 1004)
    assert btf.strings_size(btf_of(b"\0" * 1000)) == 1000
    assert btf.belongs(mine, 1000)
    assert not btf.belongs(mine, 1001)
    assert not btf.belongs(mine, 990)
    assert not btf.belongs(mine[:-1], 1000)


@given(st.binary(max_size=80), st.integers(0, 100))
def test_damaged_btf_is_no_error(junk: bytes, base: int) -> None:
    btf.belongs(b"\x9f\xeb" + junk, base)
    assert btf.strings_size(junk) is None or junk[:2] in (b"\x9f\xeb", b"\xeb\x9f")


def test_file_that_is_no_module(tmp_path: Path) -> None:
    file = tmp_path / "test.ko"
    for data, complaint in (
        (b"", "is not an ELF file"),
        (b"#!/bin/sh\n", "is not an ELF file"),
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


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
