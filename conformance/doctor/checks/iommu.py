# SPDX-License-Identifier: GPL-2.0-only
"""Whether the machine has an IOMMU that lets user space have a function."""

from collections.abc import Iterator

from conformance.doctor.checks.finding import Finding, blocks, fine, warns
from conformance.doctor.facts.facts import Facts

_ARM = frozenset({"aarch64", "armv7l"})
_STOPS = ("iommu=off", "amd_iommu=off", "intel_iommu=off")
_DRIVERS = {"AMD-Vi": "AMD_IOMMU", "Arm SMMU": "ARM_SMMU_V3", "virtio-iommu": "VIRTIO_IOMMU"}
_SAYS = {"AMD-Vi": "AMD-Vi", "Arm SMMU": "arm-smmu", "virtio-iommu": "virtio_iommu"}

_WHY = "Without an IOMMU VFIO gives no function to user space: its DMA could go anywhere."


def absent(facts: Facts) -> Iterator[Finding]:
    """Whether the firmware offers one."""
    iommu = facts.iommu
    if not iommu.on and iommu.tables is not None and not iommu.tables:
        arm = facts.lab.machine in _ARM
        yield blocks(
            "The machine has no IOMMU, or its firmware hides it: there is "
            + ("no IORT table." if arm else "neither a DMAR nor an IVRS table."),
            _WHY,
            "Switch the SMMU on in the firmware setup. A virtual machine needs one from its host: "
            "QEMU's -machine virt,iommu=smmuv3."
            if arm
            else "Switch VT-d or AMD-Vi on in the firmware setup. A virtual machine needs one from "
            "its host: QEMU's -device intel-iommu,intremap=on with "
            "-machine q35,kernel-irqchip=split.",
        )


def off(facts: Facts) -> Iterator[Finding]:
    """Whether the kernel uses it."""
    iommu = facts.iommu
    if iommu.on:
        named = ", ".join(iommu.units) or "by its groups"
        yield fine(f"The IOMMU is on ({named}; {iommu.groups} groups).")
        return
    if iommu.tables is not None and not iommu.tables:
        return
    words = [one for one in facts.kernel.cmdline if "iommu" in one.partition("=")[0]]
    said = f"the kernel was started with {' '.join(words)}" if words else "nothing asks for it"
    has = f"The machine has an IOMMU ({', '.join(iommu.tables)}) and" if iommu.tables else "If the"
    rest = "the kernel does not use it" if iommu.tables else "machine has an IOMMU, it is not used"
    yield blocks(
        f"{has} {rest}: /sys/class/iommu is empty, and {said}.",
        _WHY,
        _remedy(facts),
    )


def _remedy(facts: Facts) -> str:
    """Say how an IOMMU is switched on.

    The options are those of Documentation/admin-guide/kernel-parameters.txt of Linux 6.12: only
    intel_iommu knows `on`; the others are on unless they are switched off.
    """
    found = facts.iommu.tables or ()
    stops = [one for one in facts.kernel.cmdline if one in _STOPS]
    take = f"Remove {' and '.join(stops)} from the kernel command line and reboot." if stops else ""
    if "Intel VT-d" in found or (not found and facts.lab.machine not in _ARM):
        if "intel_iommu=on" in facts.kernel.cmdline:
            return take or "The kernel log says why: search it for DMAR."
        return f"{take} Add intel_iommu=on to the kernel command line and reboot.".strip()
    if take:
        return take
    for kind, option in _DRIVERS.items():
        if kind in found:
            if facts.kernel.lacks(option):
                return f"Boot a kernel with CONFIG_{option}: this one is built without it."
            return (
                "It is on unless it is switched off: see the firmware's setup, and search the "
                f"kernel log for {_SAYS[kind]}. The option of the kernel is CONFIG_{option}."
            )
    return (
        "A machine with a device tree must have the IOMMU there, and the kernel its driver "
        "(CONFIG_ARM_SMMU, CONFIG_ARM_SMMU_V3 or CONFIG_VIRTIO_IOMMU)."
    )


def remapping(facts: Facts) -> Iterator[Finding]:
    """Whether interrupts are remapped."""
    iommu = facts.iommu
    if not iommu.on or iommu.remapping:
        if iommu.on:
            yield fine("Interrupts are remapped.")
        return
    if iommu.remapping is None:
        yield warns(
            "It is unknown whether interrupts are remapped.",
            "If they are not, VFIO_SET_IOMMU is refused (EPERM).",
            "Search the kernel log for `remapping`, as root.",
        )
    elif iommu.unsafe:
        yield warns(
            "Interrupts are not remapped, and vfio_iommu_type1 allows that "
            "(allow_unsafe_interrupts=Y).",
            "A guest with a function can send the host any interrupt.",
            "Use such a machine for tests only.",
        )
    else:
        said = next((f" (the kernel said: {line})" for line in iommu.log if "DMAR-IR" in line), "")
        yield blocks(
            f"Interrupts are not remapped{said}.",
            "A user could send any interrupt, so VFIO_SET_IOMMU is refused (EPERM).",
            "Switch it on: in the firmware's setup; take intremap=off and nointremap from the "
            "kernel command line; in a virtual machine, -device intel-iommu,intremap=on with "
            "kernel-irqchip=split. For tests only: "
            "echo Y > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts.",
        )


def noiommu(facts: Facts) -> Iterator[Finding]:
    """Whether VFIO hands out functions without an IOMMU."""
    function = facts.function
    if function and function.group_name == "vfio-noiommu":
        yield blocks(
            f"{function.bdf} is in a group without an IOMMU (vfio-noiommu).",
            "There the type 1 container, dirty pages and so migration do not exist.",
            "Use a machine with an IOMMU, and switch vfio.enable_unsafe_noiommu_mode off.",
        )
    elif facts.iommu.noiommu:
        yield warns(
            "VFIO hands out functions without an IOMMU (vfio.enable_unsafe_noiommu_mode=Y).",
            "Such functions reach all memory, and cannot be migrated.",
            "Switch it off unless something else here needs it.",
        )
