# SPDX-License-Identifier: GPL-2.0-only
"""A machine made of files, on which nothing blocks, and the findings on it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance.doctor import command
from conformance.doctor.checks.checks import judge
from conformance.doctor.checks.finding import Finding, Level, Scope
from conformance.doctor.facts import facts
from conformance.doctor.facts.facts import Facts
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.user import User
from conformance.tests.host.fake_host import FakeHost

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


def run(machine: Machine, bdf: str = VF, **options: Any) -> tuple[int, str]:
    said: list[str] = []
    given: dict[str, Any] = {"bdf": bdf, "scope": "function", "open_it": False, "module": None}
    given |= {"json": False, "verbose": False, **options}
    status = command.run(Namespace(**given), said.append, Host(machine.root))
    return status, "\n".join(said)
