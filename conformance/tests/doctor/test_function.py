# SPDX-License-Identifier: GPL-2.0-only
"""The doctor on machines made of files: IOMMU, groups, drivers, functions."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.doctor.checks.finding import Level
from conformance.doctor.facts import facts, offer
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.lab import Lab
from conformance.doctor.facts.offer import Opened
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
from conformance.vfio.offers import Offer


def test_iommu_hidden_by_the_firmware(machine: Machine) -> None:
    without_iommu(machine)
    machine.at("sys/firmware/acpi/tables/DMAR").unlink()
    assert blocked(machine.facts()) == ["iommu.absent"]


def test_iommu_off(machine: Machine) -> None:
    without_iommu(machine)
    machine.write("proc/cmdline", "root=/dev/vda intel_iommu=off")
    assert blocked(machine.facts()) == ["iommu.off"]
    assert "started with intel_iommu=off" in cause(machine.facts())


def test_iommu_of_amd_off(machine: Machine) -> None:
    without_iommu(machine)
    machine.at("sys/firmware/acpi/tables/DMAR").rename(machine.at("sys/firmware/acpi/tables/IVRS"))
    assert "Boot a kernel with CONFIG_AMD_IOMMU" in cause(machine.facts())
    machine.write(f"boot/config-{RELEASE}", f"{CONFIG}CONFIG_AMD_IOMMU=y\n")
    for words, expected in (
        ("root=x amd_iommu=off", "Remove amd_iommu=off from the kernel command line and reboot."),
        ("iommu=off amd_iommu=on", "Remove iommu=off from"),
        ("amd_iommu=on", "It is on unless it is switched off: see the firmware's setup"),
        ("", "It is on unless it is switched off: see the firmware's setup"),
    ):
        machine.write("proc/cmdline", words)
        said = cause(machine.facts())
        assert expected in said
        assert "Add amd_iommu=on" not in said


def test_no_remapping(machine: Machine) -> None:
    machine.write("proc/interrupts", "  0:  93  IO-APIC   2-edge  timer\n")
    machine.write("dev/kmsg", "6,1,2,-;DMAR-IR: IRQ remapping is disabled\n SUBSYSTEM=x\n")
    assert blocked(machine.facts()) == ["iommu.remapping"]
    assert "DMAR-IR: IRQ remapping is disabled" in cause(machine.facts())
    name = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    machine.write(name, "Y")
    assert blocked(machine.facts()) == []
    assert "iommu.remapping" in dict(found(machine.facts(), Level.WARNS))


def test_remapping_by_the_log_alone(machine: Machine) -> None:
    machine.write("proc/interrupts", "")
    machine.write("dev/kmsg", "6,1,2,-;DMAR-IR: Enabled IRQ remapping in xapic mode\n")
    assert machine.facts().iommu.remapping
    machine.write("dev/kmsg", "")
    assert machine.facts().iommu.remapping is None
    assert blocked(machine.facts()) == []


def test_noiommu(machine: Machine) -> None:
    machine.write("sys/kernel/iommu_groups/12/name", "vfio-noiommu")
    assert blocked(machine.facts()) == ["iommu.noiommu"]
    machine.write("sys/kernel/iommu_groups/6/name", "vfio-noiommu")
    machine.at("sys/class/iommu/dmar0").rmdir()
    assert blocked(machine.facts()) == ["iommu.off", "iommu.noiommu"]


def test_no_group_although_the_iommu_is_on(machine: Machine) -> None:
    (machine.devices / VF / "iommu_group").unlink()
    assert blocked(machine.facts()) == ["function.group"]


def test_group_shared_with_a_driver_of_the_host(machine: Machine) -> None:
    machine.function(OTHER, "e1000e")
    machine.function("0000:02:00.1", "snd_hda_intel")
    machine.function("0000:00:01.0", "pcieport", kind=0x060400)
    machine.function("0000:02:00.2", None)
    assert blocked(machine.facts()) == ["group.viable"]
    said = cause(machine.facts())
    assert "0000:02:00.0 (e1000e), 0000:02:00.1 (snd_hda_intel)" in said
    assert "pcieport" not in said


def test_driver_of_the_host(machine: Machine) -> None:
    machine.bind(VF, "igbvf")
    machine.interface(VF, "enp1s0")
    said = cause(machine.facts())
    assert "is bound to igbvf, a driver of the host, and its interface enp1s0 is up" in said
    assert "only vfio_pci, which is for any function" in said


def test_no_driver(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.install(*MODULES, "igb_vf_vfio_pci", alias="igb_vf_vfio_pci")
    said = cause(machine.facts())
    assert "has no driver" in said
    assert "Modules with an alias for it: igb_vf_vfio_pci" in said


def test_plain_vfio_pci(machine: Machine) -> None:
    machine.bind(VF, "vfio-pci")
    assert "bound to vfio-pci itself" in cause(machine.facts())


def test_reserved_for_another_driver(machine: Machine) -> None:
    machine.put(machine.devices / VF / "driver_override", "vfio-pci")
    assert "driver.override" in dict(found(machine.facts(), Level.WARNS))


def test_in_use(machine: Machine) -> None:
    machine.process(77, "qemu-system-x86", "/dev/vfio/vfio", "/dev/vfio/12")
    assert "process 77 (qemu-system-x86) has /dev/vfio/12 open" in cause(machine.facts())


def test_virtual_functions_not_made(machine: Machine) -> None:
    (machine.devices / PF / "virtfn0").unlink()
    assert "can have 7 virtual ones and has none." in cause(machine.facts(PF))
    line = f"6,1,2,-;igb {PF}: not enough MMIO resources for SR-IOV\n"
    machine.write("dev/kmsg", line)
    assert "no address space for their BARs (ENOMEM)" in cause(machine.facts(PF))
    machine.write("dev/kmsg", "")
    machine.bind(PF, None)
    assert "without a driver makes none (ENOENT)" in cause(machine.facts(PF))


def test_physical_function(machine: Machine) -> None:
    assert f"Ask about one of them: {VF}" in cause(machine.facts(PF))


def test_bridge(machine: Machine) -> None:
    machine.function("0000:00:01.0", "pcieport", kind=0x060400, group="1")
    assert blocked(machine.facts("0000:00:01.0")) == ["function.bridge"]


def test_no_reset(machine: Machine) -> None:
    machine.put(machine.devices / VF / "reset_method", "")
    assert "device.reset" in dict(found(machine.facts(), Level.WARNS))


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        (Opened(Offer(0, None, 0)), "neither a migration region nor"),
        (Opened(error="Operation not permitted", errno=1), "Are interrupts remapped?"),
        (Opened(error="Device or resource busy", errno=16), "Another process has it"),
    ],
)
def test_what_the_driver_offers(machine: Machine, opened: Opened, expected: str) -> None:
    assert expected in cause(machine.facts(opened=opened))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0b11, "offers version 2 with STOP_COPY, P2P, no PRE_COPY."),
        (0b1101, "offers version 2 with STOP_COPY, no P2P, PRE_COPY, unknown flags 0x8."),
    ],
)
def test_version_2_is_reported_with_its_flags(machine: Machine, flags: int, expected: str) -> None:
    facts = machine.facts(opened=Opened(Offer(0, flags, 0)))
    assert any(expected in str(one) for _, one in found(facts, Level.FINE))
    assert "neither a migration region" not in str(found(facts, Level.BLOCKS))


@pytest.mark.parametrize(
    ("version", "level", "expected"),
    [("10.0.2", Level.FINE, "10.0.2 migrates with version 2"), ("7.2.9", Level.WARNS, "8.0 on")],
)
def test_qemu_and_version_2(machine: Machine, version: str, level: Level, expected: str) -> None:
    facts = machine.facts(opened=Opened(Offer(0, 1, 0)), lab=Lab(qemu=version))
    assert [
        expected in str(one) for name, one in found(facts, level) if name == "monitor.protocol"
    ] == [True]


def test_qemu_that_speaks_another_protocol(machine: Machine) -> None:
    opened = Opened(Offer(1, None, 1))
    new = machine.facts(opened=opened, lab=Lab(qemu="10.0.2"))
    assert [name for name, _ in found(new, Level.WARNS)] == ["monitor.protocol"]
    old = machine.facts(opened=opened, lab=Lab(qemu="7.2.9"))
    assert found(old, Level.WARNS) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda machine: machine.bind(VF, None), "no VFIO driver"),
        (lambda machine: machine.process(7, "x", "/dev/vfio/12"), "somebody uses it"),
        (lambda machine: machine.function(OTHER, "e1000e"), "its group"),
    ],
)
def test_a_device_is_not_opened_if_that_could_harm(
    machine: Machine, change: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opens(_function: Any) -> Opened:
        raise AssertionError("opened")

    monkeypatch.setattr(offer, "look", opens)
    change(machine)
    known = facts.gather(Host(machine.root), VF, open_it=True)
    assert known.function
    assert known.opened is None
    assert expected in offer.refused(known.function)
