# SPDX-License-Identifier: GPL-2.0-only
"""Modules that a kernel accepts, refuses, or breaks with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kpatch.kernel.tree import KernelTree, find
from kpatch.module.diagnosis import diagnose
from kpatch.module.info import read
from kpatch.tests.kernel.fake_tree import CONFIG, RELEASE, VERMAGIC, make_root, make_tree
from kpatch.tests.kernel.tiny_elf import module
from kpatch.tests.module.modules import IMPORTS, INFO, find_in, info_with, problems


def test_what_a_module_says_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "other-name.ko"
    sections = (".gnu.linkonce.this_module", ".BTF")
    file.write_bytes(module(INFO, IMPORTS, weak=["kfree"], sections=sections))
    info = read(file)
    assert (info.name, info.license, info.vermagic) == ("test_vfio_pci", "GPL", VERMAGIC.strip())
    assert info.depends == ("vfio-pci-core",)
    assert info.parameters == {"debug": "Say more"}
    assert [(import_.name, import_.weak) for import_ in info.imports][:2] == [
        ("kfree", True),
        ("vfio_pci_core_register_dev_region", False),
    ]
    assert info.versions["module_layout"] == 0x55555555
    assert (info.machine, info.btf, info.dwarf, info.signed) == ("EM_X86_64", True, False, False)


def test_module_that_is_good(tmp_path: Path, tree: KernelTree) -> None:
    findings = find_in(tmp_path, tree, INFO, IMPORTS)
    assert problems(findings) == []
    topics = [finding.topic for finding in findings if finding.level == "ok"]
    assert topics == ["vermagic", "license", "symbols", "versions", "devices"]
    shown = {finding.topic: finding.what for finding in findings}
    assert (
        shown["symbols"] == "All 3 imported symbols were found: 1 in vfio_pci_core, 2 in vmlinux."
    )
    assert shown["versions"] == "All 4 symbol versions are the kernel's."
    assert shown["devices"] == "It is a VFIO driver for 8086:10ca."


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"info": info_with("vermagic", VERMAGIC.replace("preempt ", ""))},
            "vermagic: Its vermagic lacks preempt, unlike the kernel's.",
        ),
        (
            {"info": info_with("vermagic", VERMAGIC.replace("preempt", "preempt_rt"))},
            "vermagic: Its vermagic lacks preempt and has preempt_rt, unlike the kernel's.",
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
        # The versions are those of the other processor, which is no trouble of its own.
        (
            {"machine": 3, "imports": dict.fromkeys(IMPORTS, 7)},
            "machine: It is for another processor: EM_386, the kernel is for EM_X86_64.",
        ),
    ],
)
def test_what_the_kernel_refuses(
    change: dict[str, Any], complaint: str, tmp_path: Path, tree: KernelTree
) -> None:
    arguments = {"info": INFO, "imports": IMPORTS, **change}
    found = problems(find_in(tmp_path, tree, **arguments))
    assert len(found) == 1
    assert found[0].startswith(complaint)


@pytest.mark.parametrize(
    ("option", "machine"),
    [("X86_32", 3), ("ARM", 40), ("ARM64", 183), ("S390", 22), ("PPC64", 21), ("PPC32", 20),
     ("RISCV", 243), ("LOONGARCH", 258), ("MIPS", 8)],
)  # fmt: skip
def test_processors_of_other_trees(option: str, machine: int, tmp_path: Path) -> None:
    config = CONFIG.replace("X86_64", option)
    tree = KernelTree(make_tree(tmp_path / "tree", config=config))
    assert problems(find_in(tmp_path, tree, INFO, IMPORTS, machine=machine)) == []
    (found,) = problems(find_in(tmp_path, tree, INFO, IMPORTS))
    assert found.startswith("machine: It is for another processor: EM_X86_64, the kernel is for")


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
    shown = f"vermagic: It was built for Linux 6.1.0-other, the kernel is {RELEASE}."
    assert problems(findings, "warning") == [shown]
    config = CONFIG.replace("CONFIG_MODVERSIONS=y\n", "")
    plain = KernelTree(make_tree(tmp_path / "plain", config=config))
    other = info_with("vermagic", "6.1.0-other SMP preempt mod_unload ")
    assert problems(find_in(tmp_path, plain, other, IMPORTS, versions=False)) == [shown]


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
    assert [finding for finding in findings if finding.topic == "devices"] == []


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
    shown = {one.topic: one.level for one in find_in(tmp_path, tree, INFO, IMPORTS)}
    assert shown["signature"].startswith(level)
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
    assert "Its 4 imported symbols were not looked up." in [finding.what for finding in findings]
