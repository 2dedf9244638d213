# SPDX-License-Identifier: GPL-2.0-only
"""The doctor on machines made of files: it names the cause, and nothing else blocks."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.doctor import command
from conformance.doctor.checks.checks import CHECKS, judge
from conformance.doctor.checks.finding import Finding, Level, Scope
from conformance.doctor.facts import facts, offer
from conformance.doctor.facts.facts import Facts
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.lab import Lab
from conformance.doctor.facts.modules import Module
from conformance.doctor.facts.offer import Opened
from conformance.doctor.facts.user import User
from conformance.errors import UsageError
from conformance.running import paths
from conformance.tests.host.fake_host import FakeHost
from conformance.vfio.offers import Offer

VF, PF, OTHER = "0000:01:10.0", "0000:01:00.0", "0000:02:00.0"
RELEASE = "6.12.1-test"
ALIAS = "vfio_pci:v00008086d000010CAsv*sd*bc*sc*i*"
CONFIG = "CONFIG_MODULES=y\nCONFIG_VFIO=m\nCONFIG_VFIO_PCI_CORE=m\nCONFIG_VFIO_IOMMU_TYPE1=m\n"
MODULES = ("vfio", "vfio_pci_core", "vfio_iommu_type1", "vfio_pci")


class Machine(FakeHost):
    """A machine on which nothing blocks: an igb VF is bound to its VFIO driver."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.function(VF, "igb_vf_vfio_pci", override="igb_vf_vfio_pci")
        self.function(PF, "igb", group="6", kind=0x020000, ids=(0x8086, 0x10C9))
        (self.devices / VF / "physfn").symlink_to(self.devices / PF)
        (self.devices / PF / "virtfn0").symlink_to(self.devices / VF)
        self.put(self.devices / PF / "sriov_totalvfs", "7")
        self.put(self.devices / PF / "sriov_numvfs", "1")
        self.put(self.devices / VF / "reset_method", "flr")
        for name in MODULES:
            self.module(name)
        self.at("sys/class/iommu/dmar0").mkdir(parents=True)
        for table in ("APIC", "DMAR"):
            self.write(f"sys/firmware/acpi/tables/{table}", "")
        self.write("proc/sys/kernel/osrelease", RELEASE)
        self.write("proc/self/status", "CapEff:\t000001ffffffffff\n")
        self.write("proc/cmdline", "root=/dev/vda intel_iommu=on")
        self.write("proc/interrupts", "  0:  93  IR-IO-APIC   2-edge  timer\n")
        self.write(f"boot/config-{RELEASE}", CONFIG)
        self.install(*MODULES)
        self.write(f"lib/modules/{RELEASE}/build/Makefile", "")
        for name in ("dev/vfio/vfio", "dev/vfio/12"):
            self.write(name, "")

    def at(self, name: str) -> Path:
        return self.root / name

    def write(self, name: str, text: str) -> None:
        path = self.at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())

    def put(self, path: Path, text: str) -> None:
        path.write_bytes(f"{text}\n".encode())

    def install(self, *modules: str, release: str = RELEASE, alias: str = "") -> None:
        folder = f"lib/modules/{release}"
        listed = "".join(f"kernel/{name}.ko:\n" for name in modules)
        self.write(f"{folder}/modules.dep", listed)
        lines = ["alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n", "alias pci:v*d*igb igb\n"]
        lines += [f"alias {ALIAS} {alias}\n"] if alias else []
        self.write(f"{folder}/modules.alias", "".join(lines))

    def unload(self, *names: str) -> None:
        for name in names:
            for path in sorted(self.at(f"sys/module/{name}").glob("*")):
                path.unlink()
            self.at(f"sys/module/{name}").rmdir()

    def bind(self, bdf: str, driver: str | None) -> None:
        if driver:
            self.driver(driver)
        self._bind((self.devices / bdf).resolve(), driver)

    def facts(self, bdf: str = VF, **changed: Any) -> Facts:
        found = facts.gather(Host(self.root), bdf)
        return replace(found, user=User(), **changed)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def found(known: Facts, level: Level = Level.BLOCKS) -> list[tuple[str, Finding]]:
    scopes = frozenset({Scope.FUNCTION})
    return [(check.name, one) for check, one in judge(known, scopes) if one.level is level]


def blocked(known: Facts) -> list[str]:
    return [name for name, _ in found(known)]


def cause(known: Facts) -> str:
    """Return the words of the one finding that blocks."""
    ((_, finding),) = found(known)
    assert finding.why
    assert finding.do
    return str(finding)


def test_nothing_blocks_on_a_healthy_machine(machine: Machine) -> None:
    assert found(machine.facts()) == []
    assert [name for name, _ in found(machine.facts(), Level.WARNS)] == ["device.migration"]
    opened = machine.facts(opened=Opened(Offer(1, None, 1)))
    assert found(opened, Level.WARNS) == []


def test_the_machine_itself(machine: Machine) -> None:
    known = machine.facts("")
    assert found(known) == []
    assert known.candidates == (PF, VF)


def test_a_machine_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    """As in a container: what is not known is said, and nothing breaks."""
    known = facts.gather(Host(tmp_path))
    names = dict(found(known))
    assert "iommu.off" in names
    assert "kernel.options" in dict(found(known, Level.WARNS))


def test_kernel_without_modules(machine: Machine) -> None:
    machine.write(f"boot/config-{RELEASE}", CONFIG.replace("CONFIG_MODULES=y\n", ""))
    assert blocked(machine.facts()) == ["kernel.modules-off"]


@pytest.mark.parametrize("place", ["proc/config.gz", f"lib/modules/{RELEASE}/config"])
def test_kernel_without_vfio(machine: Machine, place: str) -> None:
    machine.unload(*MODULES)
    machine.install()
    machine.at(f"boot/config-{RELEASE}").unlink()
    text = "CONFIG_MODULES=y\nCONFIG_VFIO=m\n# CONFIG_VFIO_PCI_CORE is not set\n"
    machine.write(place, "")
    data = text.encode()
    machine.at(place).write_bytes(gzip.compress(data) if place.endswith(".gz") else data)
    (_, first), *_ = found(machine.facts())
    assert "CONFIG_VFIO_PCI_CORE, CONFIG_VFIO_IOMMU_TYPE1" in first.what
    assert place in first.what


def test_kernel_without_group_files(machine: Machine) -> None:
    machine.write(f"boot/config-{RELEASE}", CONFIG + "# CONFIG_VFIO_GROUP is not set\n")
    assert "CONFIG_VFIO_GROUP" in cause(machine.facts())


def test_kernel_that_was_upgraded_and_not_booted(machine: Machine) -> None:
    machine.unload(*MODULES)
    machine.at(f"lib/modules/{RELEASE}").rename(machine.at("lib/modules/6.12.2-test"))
    machine.bind(VF, None)
    name, first = found(machine.facts())[0]
    assert name == "kernel.modules"
    assert "there are those of 6.12.2-test" in first.what
    assert "reboot" in first.do


def test_kernel_of_a_cloud(machine: Machine) -> None:
    machine.unload("vfio_iommu_type1", "vfio_pci")
    machine.install("vfio", "vfio_pci_core")
    assert "lacks the module vfio_iommu_type1" in cause(machine.facts())


def test_kernel_that_insists_on_signatures(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.write("sys/module/module/parameters/sig_enforce", "Y")
    assert blocked(machine.facts()) == ["kernel.signatures", "driver.bound"]
    assert "sig_enforce" in found(machine.facts())[0][1].what


def test_kernel_that_is_locked_down_by_secure_boot(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.write("sys/kernel/security/lockdown", "none [integrity] confidentiality")
    variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    machine.write(variable, "\6\0\0\0\1")
    name, first = found(machine.facts())[0]
    assert name == "kernel.signatures"
    assert "locked down (integrity), and the firmware started it by secure boot" in first.what


def without_iommu(machine: Machine) -> None:
    machine.at("sys/class/iommu/dmar0").rmdir()
    for bdf in (VF, PF):
        (machine.devices / bdf / "iommu_group").unlink()
    for group in ("6", "12"):
        for link in machine.at(f"sys/kernel/iommu_groups/{group}/devices").iterdir():
            link.unlink()
        machine.at(f"sys/kernel/iommu_groups/{group}/devices").rmdir()
        machine.at(f"sys/kernel/iommu_groups/{group}").rmdir()
    machine.write("proc/interrupts", "  0:  93  IO-APIC   2-edge  timer\n")


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
    for words, told in (
        ("root=x amd_iommu=off", "Take amd_iommu=off from the kernel's command line and reboot."),
        ("iommu=off amd_iommu=on", "Take iommu=off from"),
        ("amd_iommu=on", "It is on unless it is switched off: see the firmware's setup"),
        ("", "It is on unless it is switched off: see the firmware's setup"),
    ):
        machine.write("proc/cmdline", words)
        said = cause(machine.facts())
        assert told in said
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


def test_module_for_another_kernel(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.install(*MODULES, "igb_vf_vfio_pci", alias="igb_vf_vfio_pci")
    path = f"lib/modules/{RELEASE}/kernel/igb_vf_vfio_pci.ko"
    machine.at(path).parent.mkdir()
    machine.at(path).write_bytes(b"\x7fELF\0vermagic=6.1.0-56-amd64 SMP mod_unload modversions \0")
    (name, first), *_ = found(machine.facts())
    assert name == "module.fit"
    assert "built for Linux 6.1.0-56-amd64, and 6.12.1-test is running" in first.what
    # Within a series it may load.
    machine.at(path).write_bytes(b"\0vermagic=6.12.0-test SMP mod_unload modversions \0")
    assert blocked(machine.facts()) == ["driver.bound"]
    assert "module.fit" in dict(found(machine.facts(), Level.WARNS))


def test_module_that_kpatch_has_looked_at(machine: Machine) -> None:
    bad = Module("x.ko", "6.12.1-test SMP", findings=(("warning", "Odd."), ("problem", "Wrong.")))
    said = cause(machine.facts(modules=(bad,)))
    assert "would refuse x.ko, or crash with it. Wrong." in said
    assert "python3 -m kpatch inspect x.ko" in said
    doubtful = replace(bad, findings=(("warning", "Odd."),))
    known = machine.facts(modules=(doubtful,))
    assert found(known) == []
    assert str(dict(found(known, Level.WARNS))["module.fit"]) == "x.ko: Odd."


def test_module_that_is_named(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "own.ko"
    path.write_bytes(b"\0vermagic=5.10.0 SMP mod_unload modversions \0")
    status, said = run(machine, module=path)
    assert status == 1
    assert f"{path} was built for Linux 5.10.0, and 6.12.1-test is running" in said


def test_module_of_another_kernel(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.install("igb_vf_vfio_pci", release="6.12.0-old", alias="igb_vf_vfio_pci")
    assert blocked(machine.facts()) == ["module.elsewhere"]
    assert "installed for the kernel 6.12.0-old" in cause(machine.facts())


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


def test_files_of_vfio(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "usable", lambda _self, name: name != "/dev/vfio/12")
    assert "may not open /dev/vfio/12" in cause(machine.facts())
    machine.at("dev/vfio/12").unlink()
    assert "There is no /dev/vfio/12" in cause(machine.facts())


def test_memlock(machine: Machine) -> None:
    known = replace(machine.facts(), user=User(1000, 8 << 20, False))
    assert blocked(known) == ["user.memlock"]
    assert "may pin 8192 KiB" in cause(known)
    assert blocked(replace(known, user=User(1000, 1 << 30, False))) == []
    assert blocked(replace(known, user=User(1000, 8 << 20, True))) == []


def test_no_reset(machine: Machine) -> None:
    machine.put(machine.devices / VF / "reset_method", "")
    assert "device.reset" in dict(found(machine.facts(), Level.WARNS))


@pytest.mark.parametrize(
    ("opened", "told"),
    [
        (Opened(Offer(0, None, 0)), "neither a migration region nor"),
        (Opened(error="Operation not permitted", errno=1), "Are interrupts remapped?"),
        (Opened(error="Device or resource busy", errno=16), "Another process has it"),
    ],
)
def test_what_the_driver_offers(machine: Machine, opened: Opened, told: str) -> None:
    assert told in cause(machine.facts(opened=opened))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (0b11, "offers version 2 with STOP_COPY, P2P, no PRE_COPY."),
        (0b1101, "offers version 2 with STOP_COPY, no P2P, PRE_COPY, unknown flags 0x8."),
    ],
)
def test_version_2_is_told_with_its_flags(machine: Machine, flags: int, told: str) -> None:
    facts = machine.facts(opened=Opened(Offer(0, flags, 0)))
    assert any(told in str(one) for _, one in found(facts, Level.FINE))
    assert "neither a migration region" not in str(found(facts, Level.BLOCKS))


@pytest.mark.parametrize(
    ("version", "level", "told"),
    [("10.0.2", Level.FINE, "10.0.2 migrates with version 2"), ("7.2.9", Level.WARNS, "8.0 on")],
)
def test_qemu_and_version_2(machine: Machine, version: str, level: Level, told: str) -> None:
    facts = machine.facts(opened=Opened(Offer(0, 1, 0)), lab=Lab(qemu=version))
    assert [
        told in str(one) for name, one in found(facts, level) if name == "monitor.protocol"
    ] == [True]


def test_qemu_that_speaks_another_protocol(machine: Machine) -> None:
    opened = Opened(Offer(1, None, 1))
    new = machine.facts(opened=opened, lab=Lab(qemu="10.0.2"))
    assert [name for name, _ in found(new, Level.WARNS)] == ["monitor.protocol"]
    old = machine.facts(opened=opened, lab=Lab(qemu="7.2.9"))
    assert found(old, Level.WARNS) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda machine: machine.bind(VF, None), "no VFIO driver"),
        (lambda machine: machine.process(7, "x", "/dev/vfio/12"), "somebody uses it"),
        (lambda machine: machine.function(OTHER, "e1000e"), "its group"),
    ],
)
def test_a_device_is_not_opened_if_that_could_harm(
    machine: Machine, change: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opens(_function: Any) -> Opened:
        raise AssertionError("opened")

    monkeypatch.setattr(offer, "look", opens)
    change(machine)
    known = facts.gather(Host(machine.root), VF, open_it=True)
    assert known.function
    assert known.opened is None
    assert told in offer.refused(known.function)


LAB = Lab(venv=True, memory=8 << 30, disk=50 << 30, kvm="there", kvm_works=True)


@pytest.mark.parametrize(
    ("lab", "blocking", "warning"),
    [
        (LAB, [], []),
        (replace(LAB, machine="aarch64"), ["lab.machine"], []),
        (replace(LAB, python=(3, 9)), ["lab.machine"], []),
        (replace(LAB, memory=512 << 20), ["lab.machine"], []),
        (replace(LAB, missing=("bwrap",)), ["lab.programs"], []),
        (replace(LAB, packages=("pydantic",), venv=False), [], ["lab.programs"]),
        (replace(LAB, namespaces="user.max_user_namespaces=1"), ["lab.namespaces"], []),
        (replace(LAB, unmapped=("/etc/subuid",)), ["lab.namespaces"], []),
        (replace(LAB, disk=1 << 30), ["lab.space"], []),
        (replace(LAB, disk=1 << 30, images=(("trixie", "10"),)), [], ["lab.space"]),
        (replace(LAB, kvm="missing"), [], ["lab.kvm"]),
        (replace(LAB, kvm="forbidden"), [], ["lab.kvm"]),
        (replace(LAB, kvm_works=False), [], ["lab.kvm"]),
        (replace(LAB, kvm_works=None), [], []),
    ],
)
def test_the_host_of_the_lab(
    machine: Machine, lab: Lab, blocking: list[str], warning: list[str]
) -> None:
    known = machine.facts("", lab=lab)
    pairs = judge(known, frozenset({Scope.LAB}))
    assert [check.name for check, one in pairs if one.level is Level.BLOCKS] == blocking
    assert [check.name for check, one in pairs if one.level is Level.WARNS] == warning


def run(machine: Machine, bdf: str = VF, **options: Any) -> tuple[int, str]:
    said: list[str] = []
    given: dict[str, Any] = {"bdf": bdf, "scope": "function", "open_it": False, "module": None}
    given |= {"json": False, "verbose": False, **options}
    status = command.run(Namespace(**given), said.append, Host(machine.root))
    return status, "\n".join(said)


def test_exit_code_and_lines(machine: Machine) -> None:
    status, said = run(machine)
    assert status == 0
    assert said.splitlines()[-1] == f"{VF}: nothing blocks"
    machine.bind(VF, None)
    status, said = run(machine, "01:10.0")
    assert status == 1
    assert said.startswith("blocks  driver.bound")
    assert said.splitlines()[-1] == f"{VF}: 1 in the way; begin with the first"


def test_json(machine: Machine) -> None:
    machine.bind(VF, "vfio-pci")
    status, said = run(machine, json=True)
    document = json.loads(said)
    assert status == 1
    assert document["blocks"] is True
    first = document["findings"][0]
    assert (first["level"], first["check"], first["scope"]) == (
        "blocks",
        "driver.bound",
        "function",
    )
    assert first["what"]
    assert first["why"]
    assert first["do"]


@pytest.mark.parametrize("bdf", ["nonsense", "0000:01:10.8", "1:2"])
def test_no_address(machine: Machine, bdf: str) -> None:
    with pytest.raises(UsageError, match="no address of a PCI function"):
        run(machine, bdf)


def test_no_such_function(machine: Machine) -> None:
    with pytest.raises(UsageError, match=r"no PCI function 0000:09:00.0 .*to ask about: "):
        run(machine, "09:00.0")
    machine.put(machine.devices / PF / "sriov_numvfs", "0")
    with pytest.raises(UsageError, match=f"{PF} can make virtual functions and has none"):
        run(machine, "09:00.0")


def test_no_such_module(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        run(machine, module=tmp_path / "none.ko")


def test_names_of_checks_are_unique() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)


RECORDER = """
import os, sys
seen = []
def hook(event, args):
    if event == "open":
        path, mode, flags = args
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            seen.append((event, str(path)))
    elif event.startswith(("os.mkdir", "os.remove", "os.rename", "os.link", "os.symlink",
        "os.chmod", "os.chown", "os.truncate", "os.utime", "os.rmdir", "os.kill", "socket.",
        "fcntl.ioctl", "shutil.")):
        seen.append((event, str(args)))
    elif event == "subprocess.Popen" and args[1][1:] != ["--version"]:
        seen.append((event, str(args)))
sys.addaudithook(hook)
from conformance.doctor.__main__ import main
status = main(sys.argv[1:])
print(seen, file=sys.stderr)
sys.exit(9 if seen else status)
"""


@pytest.mark.parametrize("words", [[], ["-v"], ["--json", "--for", "lab"]])
def test_it_changes_nothing(words: list[str]) -> None:
    """Python tells of all that opens, makes, removes or starts something: here, this machine."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", RECORDER, *words],
        cwd=paths.KIT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr.strip() == "[]"


def test_it_needs_the_standard_library_only() -> None:
    """-S: without the packages of this Python; -I: without what else is in the way."""
    program = f"import sys; sys.path.insert(0, {str(paths.KIT)!r})\n"
    program += "from conformance.doctor.__main__ import main; sys.exit(main(['-v', '--json']))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(done.stdout)
    assert (
        any(
            "whether KVM was tried is not known: this Python has no" in one["what"]
            for one in said["findings"]
        )
        or not Path("/dev/kvm").exists()
    )
