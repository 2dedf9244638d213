# SPDX-License-Identifier: GPL-2.0-only
"""What each check's advice was checked against: advice that does not exist is worse than none.

Where the source is a file of Linux, its words are given, and a test looks them up in the source of
a kernel. The others are pages of manuals and files of the kit.
"""

from dataclasses import dataclass

_PARAMETERS = "Documentation/admin-guide/kernel-parameters.txt"
_SYSFS_PCI = "Documentation/ABI/testing/sysfs-bus-pci"


@dataclass(frozen=True)
class Source:
    """A place that says what a check says.

    Attributes:
        where: A file of Linux, or of the kit if `kit`; else the manual.
        words: What stands there, as it stands there; empty for a manual.
        kit: Whether the file is the kit's.
    """

    where: str
    words: str = ""
    kit: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.words.strip()}" if self.words else self.where


_QEMU_IOMMU = Source("QEMU 10.0: qemu-system-x86_64 -device intel-iommu,help; -machine q35,help")
_PACKAGES = Source("packages.debian.org: linux-image-RELEASE, linux-headers-RELEASE")
_DPKG = Source("dpkg(1): /var/lib/dpkg/info/PACKAGE.list")
_LSPCI = Source("lspci(8): -D")
_DRIVER_OVERRIDE = Source(_SYSFS_PCI, "What:\t\t/sys/bus/pci/devices/.../driver_override")
_PROBE = Source("drivers/base/bus.c", "BUS_ATTR_WO(drivers_probe)")
_SETUP = Source("vm-images/host-setup.sh", "bubblewrap", kit=True)

SOURCES: dict[str, tuple[Source, ...]] = {
    "kernel.modules-off": (Source("kernel/module/Kconfig", "menuconfig MODULES"),),
    "kernel.options": (
        Source("drivers/vfio/Kconfig", "menuconfig VFIO\n"),
        Source("drivers/vfio/Kconfig", "config VFIO_GROUP\n"),
        Source("drivers/vfio/Kconfig", "config VFIO_CONTAINER\n"),
        Source("drivers/vfio/Kconfig", "config VFIO_IOMMU_TYPE1\n"),
        Source("drivers/vfio/pci/Kconfig", "config VFIO_PCI_CORE\n"),
    ),
    "kernel.modules": (
        _PACKAGES,
        _DPKG,
        Source("packages.ubuntu.com: linux-modules-extra-RELEASE"),
        Source("Makefile", "\nmodules_install:"),
    ),
    "iommu.absent": (_QEMU_IOMMU, Source("QEMU 10.0: docs/system/arm/virt.rst, iommu=smmuv3")),
    "iommu.off": (
        Source(_PARAMETERS, "\tintel_iommu=\t[DMAR] Intel IOMMU driver (DMAR) option\n\t\ton\n"),
        Source(_PARAMETERS, "\tamd_iommu=\t"),
        Source(_PARAMETERS, "\tiommu=\t\t[X86"),
        Source("drivers/iommu/amd/Kconfig", "config AMD_IOMMU\n"),
        Source("drivers/iommu/Kconfig", "config ARM_SMMU\n"),
        Source("drivers/iommu/Kconfig", "config ARM_SMMU_V3\n"),
        Source("drivers/iommu/Kconfig", "config VIRTIO_IOMMU\n"),
    ),
    "iommu.remapping": (
        Source(_PARAMETERS, "\tintremap=\t"),
        Source(_PARAMETERS, "\tnointremap\t"),
        Source("drivers/vfio/vfio_iommu_type1.c", "module_param_named(allow_unsafe_interrupts"),
        _QEMU_IOMMU,
    ),
    "iommu.noiommu": (
        Source("drivers/vfio/vfio_main.c", "module_param_named(enable_unsafe_noiommu_mode"),
    ),
    "function.bridge": (
        Source("drivers/vfio/pci/vfio_pci_core.c", "pdev->hdr_type != PCI_HEADER_TYPE_NORMAL"),
        _LSPCI,
    ),
    "function.dead": (
        Source(_SYSFS_PCI, "What:\t\t/sys/bus/pci/devices/.../remove"),
        Source(_SYSFS_PCI, "What:\t\t/sys/bus/pci/rescan"),
        Source("drivers/pci/pci.c", "giving up"),
    ),
    "function.sriov": (
        Source(_SYSFS_PCI, "What:\t\t/sys/bus/pci/devices/.../sriov_numvfs"),
        Source(_SYSFS_PCI, "What:\t\t/sys/bus/pci/devices/.../sriov_drivers_autoprobe"),
        Source(_PARAMETERS, "\t\trealloc=\tEnable/disable reallocating PCI bridge resources"),
        Source(_PARAMETERS, "\t\tassign-busses\t"),
        Source("drivers/pci/iov.c", "not enough MMIO resources for SR-IOV"),
        Source("drivers/pci/iov.c", "driver does not support SR-IOV configuration"),
    ),
    "function.group": (Source(_PARAMETERS, "\t\tigfx_off "),),
    "group.viable": (
        Source("drivers/pci/pci-driver.c", "!driver->driver_managed_dma"),
        Source("Documentation/driver-api/vfio.rst", "non-PCI-ACS (Access Control Services)"),
        _DRIVER_OVERRIDE,
    ),
    "group.reserved": (
        Source("Documentation/ABI/testing/sysfs-kernel-iommu_groups", '"direct-relaxable"'),
        Source("drivers/iommu/intel/iommu.c", "device_rmrr_is_relaxable"),
        Source("Documentation/arch/x86/iommu.rst", "What is Intel RMRR?"),
    ),
    "function.token": (Source("drivers/vfio/pci/vfio_pci_core.c", "VF token required"),),
    "kernel.signatures": (
        Source("kernel/module/signing.c", "module_param(sig_enforce"),
        Source(_PARAMETERS, "\tlockdown=\t"),
        Source("mokutil(1): --import"),
    ),
    "module.fit": (
        Source("docs/commands.md", "inspect", kit=True),
        Source("modinfo(8)"),
        Source("kernel/module/main.c", "version magic"),
    ),
    "module.elsewhere": (Source("dkms(8): autoinstall"),),
    "driver.bound": (_DRIVER_OVERRIDE, _PROBE, Source("Makefile", "BDF", kit=True)),
    "driver.override": (Source(_SYSFS_PCI, "may be cleared with an empty string"),),
    "device.in-use": (Source("drivers/vfio/group.c", "ret = -EBUSY"),),
    "user.files": (Source("docker-run(1): --device"), Source("udev(7): OWNER, GROUP, MODE")),
    "user.memlock": (
        Source("drivers/vfio/vfio_iommu_type1.c", "rlimit(RLIMIT_MEMLOCK)"),
        Source("limits.conf(5): memlock"),
        Source("systemd.exec(5): LimitMEMLOCK="),
    ),
    "device.migration": (
        Source("include/uapi/linux/vfio.h", "VFIO_DEVICE_FEATURE_MIGRATION"),
        Source("drivers/vfio/vfio_iommu_type1.c", "rlimit(RLIMIT_MEMLOCK)"),
    ),
    "device.reset": (Source(_SYSFS_PCI, '"default" enables all supported reset methods'),),
    "monitor.protocol": (Source("QEMU 8.0: hw/vfio/migration.c; QEMU 5.2 to 7.2: the same"),),
    "machine.functions": (_LSPCI,),
    "kernel.headers": (
        _PACKAGES,
        _DPKG,
        Source("conformance/cli/commands/check.py", "--kernel-tree", kit=True),
    ),
    "lab.machine": (Source("vm-images/images/trixie.toml", "linux-image-amd64", kit=True),),
    "lab.programs": (_SETUP, Source("Makefile", "setup:", kit=True)),
    "lab.namespaces": (
        Source("Documentation/admin-guide/sysctl/user.rst", "max_user_namespaces"),
        Source("Ubuntu's kernel: kernel.apparmor_restrict_unprivileged_userns"),
        Source("Debian's kernel: kernel.unprivileged_userns_clone"),
        Source("usermod(8): --add-subuids, --add-subgids"),
    ),
    "lab.space": (Source("conformance/running/paths.py", "VFIO_KIT_CACHE", kit=True),),
    "lab.images": (Source("Makefile", "check:", kit=True),),
    "lab.kvm": (
        Source("Documentation/virt/kvm/api.rst", 'open("/dev/kvm")'),
        Source("Documentation/virt/kvm/x86/running-nested-guests.rst", "nested=1"),
        Source('Debian: /lib/udev/rules.d/50-udev-default.rules, KERNEL=="kvm", GROUP="kvm"'),
    ),
}
"""By the name of the check."""
