# SPDX-License-Identifier: GPL-2.0-only
"""Machines as people reported them: what is found is the cause, and the remedy exists."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.doctor import command
from conformance.doctor.facts import facts
from conformance.doctor.facts.function import SIGNATURE
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.lab import Lab
from conformance.tests.doctor import test_vm
from conformance.tests.doctor.machine import (
    CONFIG,
    MODULES,
    OTHER,
    PF,
    RELEASE,
    VF,
    Machine,
    blocked,
    cause,
    found,
    without_iommu,
)
from conformance.vfio.system import sysfs
from kpatch.tests.fuzzing import drawn

NVME = "10000:e1:00.0"


def test_machine_of_the_lab_that_is_to_be_broken() -> None:
    """Its definition follows that of igb, which gets new keys; else no test in VMs begins."""
    made = test_vm.machine("doctor", *test_vm.IGB)
    assert (made.name, made.physical_function, made.devices) == ("doctor", None, test_vm.IGB)


@pytest.mark.parametrize("written", [NVME, NVME.upper()])
def test_domain_of_five_digits(machine: Machine, written: str) -> None:
    """Behind Intel's VMD."""
    machine.function(NVME, "nvme", group="20", ids=(0x144D, 0xA80A), kind=0x010802)
    known = machine.facts(command.address(written))
    assert f"{NVME} (144d:a80a) is bound to nvme, a driver of the host" in cause(known)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ffffffff:00:1f.7", "ffffffff:00:1f.7"),
        ("3B:02.0", "0000:3b:02.0"),
        ("000:3b:02.0", None),
        ("123456789:3b:02.0", None),
        ("3b:20.0", None),
        ("3b:02.8", None),
        ("3b:02.0\n", None),
        ("", None),
    ],
)
def test_address(text: str, address: str | None) -> None:
    assert sysfs.address(text) == address


@pytest.mark.parametrize(
    ("kind", "driver", "viable"),
    [
        (0x060100, "lpc_ich", False),  # an ISA bridge, with a driver that claims its DMA
        (0x060400, "shpchp", False),
        (0x060100, None, True),
        (0x060400, "pcieport", True),
        (0x010601, "pci-stub", True),
    ],
)
def test_group_with_a_part_of_the_chipset(
    machine: Machine, kind: int, driver: str | None, viable: bool
) -> None:
    """pci_dma_configure() lets off drivers with driver_managed_dma, whatever the class."""
    machine.function("0000:00:1f.0", driver, kind=kind)
    assert blocked(machine.facts()) == ([] if viable else ["group.viable"])


def test_bridge_by_the_type_of_its_header(machine: Machine) -> None:
    folder = machine.function(OTHER, None, kind=0x060100, group="9")
    (folder / "config").write_bytes(bytes(64))
    assert "function.bridge" not in blocked(machine.facts(OTHER))
    (folder / "config").write_bytes(bytes(14) + b"\x81" + bytes(49))
    assert blocked(machine.facts(OTHER)) == ["function.bridge"]


def test_memory_that_firmware_wants_mapped(machine: Machine) -> None:
    name = "sys/kernel/iommu_groups/12/reserved_regions"
    harmless = "0x00000000fee00000 0x00000000feefffff msi\n"
    relaxable = "0x000000007c000000 0x000000007fffffff direct-relaxable\n"
    machine.write(name, harmless + relaxable)
    assert blocked(machine.facts()) == []
    machine.write(name, harmless + relaxable.replace("-relaxable", ""))
    assert blocked(machine.facts()) == ["group.reserved"]
    assert "0x000000007c000000-0x000000007fffffff" in cause(machine.facts())


def test_physical_function_that_belongs_to_vfio(machine: Machine) -> None:
    machine.bind(PF, "vfio-pci")
    (machine.devices / PF / "vfio-dev").mkdir(exist_ok=True)
    assert blocked(machine.facts()) == ["function.token"]
    assert "takes a VF token" in cause(machine.facts())


def test_function_that_does_not_answer(machine: Machine) -> None:
    folder = machine.devices / VF
    (folder / "config").write_bytes(b"\xff" * 64)
    machine.put(folder / "power_state", "D3cold")
    machine.write("dev/kmsg", f"4,1,2,-;vfio-pci {VF}: not ready 65535ms after FLR; giving up\n")
    known = machine.facts()
    assert blocked(known)[0] == "function.dead"
    said = str(found(known)[0][1])
    assert "power state D3cold" in said
    assert "giving up" in said


def test_function_that_sleeps_is_not_dead(machine: Machine) -> None:
    """D3cold alone is what runtime power management does with an idle device."""
    (machine.devices / VF / "config").write_bytes(b"\x86\x80" + bytes(62))
    machine.put(machine.devices / VF / "power_state", "D3cold")
    assert blocked(machine.facts()) == []


@pytest.mark.parametrize(
    "line",
    [
        f"pcieport 0000:00:01.0: {PF}: not enough MMIO resources for SR-IOV",
        f"igb 0000:09:00.0: not enough MMIO resources for SR-IOV (like {PF}: )",
        f"otherdrv {PF}: not enough MMIO resources for SR-IOV",
        f"igb {PF}: no driver bound to device; cannot configure SR-IOV",
        f"igb {PF}: 2 VFs already enabled. Disable before enabling 4 VFs",
    ],
)
def test_error_of_another_function_or_of_the_past(machine: Machine, line: str) -> None:
    (machine.devices / PF / "virtfn0").unlink()
    machine.write("dev/kmsg", f"4,1,2,-;{line}\n")
    assert "the last try" not in cause(machine.facts(PF))


@pytest.mark.parametrize(
    ("table", "option", "expected"),
    [
        ("IORT", "ARM_SMMU_V3", "search the kernel log for arm-smmu"),
        ("VIOT", "VIRTIO_IOMMU", "search the kernel log for virtio_iommu"),
        ("IVRS", "AMD_IOMMU", "search the kernel log for AMD-Vi"),
    ],
)
def test_iommu_that_knows_no_option_to_switch_it_on(
    machine: Machine, table: str, option: str, expected: str
) -> None:
    without_iommu(machine)
    tables = machine.at("sys/firmware/acpi/tables")
    (tables / "DMAR").rename(tables / table)
    machine.write("proc/cmdline", "root=/dev/vda")
    assert f"Boot a kernel with CONFIG_{option}" in cause(machine.facts())
    machine.write(f"boot/config-{RELEASE}", f"{CONFIG}CONFIG_{option}=y\n")
    said = cause(machine.facts())
    assert expected in said
    assert "=on" not in said


def test_arm_without_acpi(machine: Machine) -> None:
    without_iommu(machine)
    for path in machine.at("sys/firmware/acpi/tables").iterdir():
        path.unlink()
    machine.at("sys/firmware/acpi/tables").rmdir()
    said = cause(machine.facts(lab=Lab(machine="aarch64")))
    assert "A machine with a device tree must have the IOMMU there" in said
    assert "intel_iommu" not in said.partition("Without an IOMMU")[2]


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".zst"])
def test_signed_module_however_it_is_packed(machine: Machine, suffix: str) -> None:
    if suffix == ".zst" and not shutil.which("zstd"):
        pytest.skip("the program zstd is not installed")
    packers: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".xz": lzma.compress,
        ".gz": gzip.compress,
        ".zst": zstd,
    }
    data = b"\x7fELF\0vermagic=" + RELEASE.encode() + b" SMP mod_unload \0" + SIGNATURE
    machine.install(*MODULES, "igb_vf_vfio_pci", alias="igb_vf_vfio_pci")
    folder = f"lib/modules/{RELEASE}"
    listed = machine.at(f"{folder}/modules.dep").read_text()
    file = f"kernel/igb_vf_vfio_pci.ko{suffix}"
    machine.write(f"{folder}/modules.dep", listed.replace("kernel/igb_vf_vfio_pci.ko", file))
    machine.at(f"{folder}/kernel").mkdir(exist_ok=True)
    machine.at(f"{folder}/{file}").write_bytes(packers[suffix](data))
    machine.bind(VF, None)
    machine.write("sys/kernel/security/lockdown", "none [integrity] confidentiality")
    known = machine.facts()
    (match,) = known.function.variants if known.function else ()
    assert (match.signed, match.vermagic) == (True, f"{RELEASE} SMP mod_unload")
    assert "kernel.signatures" not in blocked(known)


WORDS = st.text(st.characters(min_codepoint=9, max_codepoint=255), max_size=30)


@drawn(20, 0.4)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "sys/kernel/iommu_groups/12/reserved_regions": WORDS,
            "sys/bus/pci/devices/0000:01:10.0/config": WORDS,
            "sys/bus/pci/devices/0000:01:10.0/power_state": WORDS,
            "sys/bus/pci/devices/0000:01:10.0/reset_method": WORDS,
            "sys/kernel/security/lockdown": WORDS,
            "proc/cmdline": WORDS,
            "proc/interrupts": WORDS,
            "proc/meminfo": WORDS,
            "dev/kmsg": WORDS,
            f"boot/config-{RELEASE}": WORDS,
            f"lib/modules/{RELEASE}/modules.dep": WORDS,
            f"lib/modules/{RELEASE}/modules.alias": WORDS,
            "sys/bus/pci/devices/0000:01:00.0/sriov_totalvfs": WORDS,
        },
    )
)
def test_no_file_is_too_odd(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("odd"))
    for name, text in files.items():
        machine.write(name, text)
    blocked(machine.facts())
    blocked(facts.gather(Host(machine.root), PF))
