# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the machine's IOMMU and of its remapping of interrupts."""

import re
from dataclasses import dataclass

from conformance.doctor.facts.host import Host

_TABLES = {"DMAR": "Intel VT-d", "IVRS": "AMD-Vi", "VIOT": "virtio-iommu", "IORT": "Arm SMMU"}
_OFF = re.compile(r"DMAR-IR: .*(?:disabled|not enabled)|Failed to enable (?:irq|IRQ) remapping")
_ON = re.compile(r"DMAR-IR: Enabled IRQ remapping|AMD-Vi: Interrupt remapping enabled")


@dataclass(frozen=True)
class Iommu:
    """The IOMMU.

    Attributes:
        units: Those that the kernel drives.
        tables: What the firmware says there is, in words; None if it has no ACPI tables.
        groups: Number of groups, without those that VFIO makes up where there is no IOMMU.
        remapping: Whether interrupts are remapped; None if that is not known.
        unsafe: Whether VFIO goes without it: the parameter allow_unsafe_interrupts.
        noiommu: Whether VFIO hands out functions without any IOMMU.
        log: What the kernel said of it when it came up.
    """

    units: tuple[str, ...] = ()
    tables: tuple[str, ...] | None = None
    groups: int = 0
    remapping: bool | None = None
    unsafe: bool = False
    noiommu: bool = False
    log: tuple[str, ...] = ()

    @property
    def on(self) -> bool:
        """Whether there is one that the kernel uses."""
        return bool(self.units) or self.groups > 0


def gather(host: Host) -> Iommu:
    """Read what is known of the IOMMU."""
    tables = host.names("/sys/firmware/acpi/tables")
    log = tuple(line for line in host.log() if re.search(r"DMAR|AMD-Vi|IOMMU|iommu", line))
    return Iommu(
        units=host.names("/sys/class/iommu"),
        tables=tuple(_TABLES[table] for table in tables if table in _TABLES) if tables else None,
        groups=sum(_is_real(host, name) for name in host.names("/sys/kernel/iommu_groups")),
        remapping=_remapping(host.text("/proc/interrupts") or "", log),
        unsafe=host.text("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts") == "Y",
        noiommu=host.text("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y",
        log=log,
    )


def _is_real(host: Host, group: str) -> bool:
    return host.text(f"/sys/kernel/iommu_groups/{group}/name") != "vfio-noiommu"


def _remapping(interrupts: str, log: tuple[str, ...]) -> bool | None:
    # The controllers of remapped interrupts are called IR-IO-APIC, IR-PCI-MSI and so on; an ITS,
    # of Arm, distinguishes devices by itself.
    if re.search(r"\s(?:IR-(?:IO-APIC|PCI-MSI|HPET)|ITS-)", interrupts):
        return True
    if re.search(r"\s(?:IO-APIC|PCI-MSI)", interrupts):
        return False
    for line in log:
        if _ON.search(line) or _OFF.search(line):
            return bool(_ON.search(line))
    return None
