# SPDX-License-Identifier: GPL-2.0-only
"""Whether the running kernel has what VFIO needs."""

from collections.abc import Iterator

from conformance.doctor.checks.finding import Finding, blocks, fine, warns
from conformance.doctor.facts.facts import Facts
from conformance.doctor.facts.kernel import Kernel

_NEEDED = {
    "VFIO": ("vfio", "gives devices to user space"),
    "VFIO_PCI_CORE": ("vfio_pci_core", "is the base of drivers for PCI functions"),
    "VFIO_IOMMU_TYPE1": ("vfio_iommu_type1", "makes the DMA mappings of a user"),
}
"""The option, the module that it makes, and what that does."""

_DEVICE_FILES = ("VFIO_GROUP", "VFIO_CONTAINER")
"""Options since Linux 6.6 and 6.2: without them there is no /dev/vfio/GROUP or no container."""


def loadable(facts: Facts) -> Iterator[Finding]:
    """Whether the kernel can load modules."""
    kernel = facts.kernel
    if kernel.lacks("MODULES"):
        yield blocks(
            f"The kernel {kernel.release} cannot load modules ({kernel.config_from} lacks "
            "CONFIG_MODULES).",
            "A migration driver comes as a module.",
            "Boot a kernel with CONFIG_MODULES=y.",
        )


def options(facts: Facts) -> Iterator[Finding]:
    """Whether it was configured with VFIO."""
    kernel = facts.kernel
    if kernel.config is None:
        if not all(kernel.has(module) for module, _ in _NEEDED.values()):
            yield warns(
                f"The configuration of the kernel {kernel.release} is unknown: there is neither "
                f"/proc/config.gz nor /boot/config-{kernel.release}.",
                "Whether it was built with VFIO can only be guessed from its modules.",
                "Install its configuration file.",
            )
        return
    missing = [
        name
        for name, (module, _) in _NEEDED.items()
        if kernel.lacks(name) and not kernel.has(module)
    ]
    if missing:
        name = missing[0]
        listed = ", ".join(f"CONFIG_{one}" for one in missing)
        yield blocks(
            f"The kernel {kernel.release} was built without {listed} ({kernel.config_from}).",
            f"The first {_NEEDED[name][1]}.",
            "Boot a kernel that has them as y or m, as those of the distributions do.",
        )
        return
    for name in _DEVICE_FILES:
        # Kernels from before the option have what it stands for, and do not mention it.
        if kernel.config.get(name) == "n":
            yield blocks(
                f"The kernel {kernel.release} was built without CONFIG_{name}.",
                "The suite, and monitors up to QEMU 8.1, open devices through /dev/vfio/GROUP.",
                f"Boot a kernel with CONFIG_{name}=y.",
            )
    yield fine(f"The kernel {kernel.release} was built with VFIO ({kernel.config_from}).")


def installed(facts: Facts) -> Iterator[Finding]:
    """Whether the modules of VFIO are loaded or can be."""
    kernel = facts.kernel
    wanted = {
        module: does
        for name, (module, does) in _NEEDED.items()
        if not kernel.has(module) and not kernel.lacks(name)
    }
    if not wanted:
        if all(kernel.has(module) for module, _ in _NEEDED.values()):
            yield fine("The modules of VFIO are loaded, built in, or installed.")
        return
    listed = ", ".join(wanted)
    if not kernel.folder:
        others = f"; there are those of {', '.join(kernel.others)}" if kernel.others else ""
        yield blocks(
            f"The modules of the running kernel {kernel.release} are not installed: there is no "
            f"/lib/modules/{kernel.release}{others}.",
            f"Neither {listed} nor a migration driver can be loaded.",
            "Was the kernel upgraded? Then reboot. Else "
            + _from(kernel, "linux-image", "its modules", "make modules_install"),
        )
        return
    first = next(iter(wanted))
    yield blocks(
        f"The running kernel {kernel.release} lacks the module {listed}: it is neither loaded, "
        f"nor built in, nor in /lib/modules/{kernel.release}.",
        f"{first} {wanted[first]}.",
        "Install the package with all modules of the kernel: some distributions have them in a "
        "package of their own (linux-modules-extra), and cloud kernels lack them.",
    )


def signatures(facts: Facts) -> Iterator[Finding]:
    """Whether the kernel loads modules that nobody has signed."""
    kernel, function = facts.kernel, facts.function
    if kernel.enforces or kernel.lockdown in ("integrity", "confidentiality"):
        how = (
            "its parameter module.sig_enforce, or CONFIG_MODULE_SIG_FORCE, is on"
            if kernel.enforces
            else f"it is locked down ({kernel.lockdown})"
        )
        boot = ", and the firmware started it by secure boot" if kernel.secure_boot else ""
        what = f"The kernel loads signed modules only: {how}{boot}."
        do = (
            "Sign the module with a key that the kernel trusts (mokutil --import), or boot "
            "without secure boot, lockdown= and module.sig_enforce."
        )
        bound = function is not None and function.vfio and not function.plain
        unknown = [module.name for module in facts.modules if module.signed is None]
        if unknown:
            what += f" Whether {unknown[0]} is signed is not known: it could not be unpacked here."
        if bound or unknown or any(module.signed for module in facts.modules):
            yield warns(what, "A driver that you build is refused (EKEYREJECTED).", do)
        else:
            yield blocks(what, "A driver that you build is refused (EKEYREJECTED).", do)
    elif kernel.secure_boot:
        yield warns(
            "The firmware started the kernel by secure boot.",
            "Some kernels then refuse modules that are not signed.",
            "Sign the module with a key that the kernel trusts, if it is refused.",
        )
    else:
        yield fine("The kernel loads modules that are not signed.")


def headers(facts: Facts) -> Iterator[Finding]:
    """Whether modules can be built for the running kernel here."""
    kernel = facts.kernel
    if kernel.lacks("MODULES"):
        return
    if kernel.headers:
        yield fine(f"The headers of {kernel.release} are installed.")
    else:
        yield warns(
            f"The headers of the running kernel are not installed: there is no "
            f"/lib/modules/{kernel.release}/build.",
            "No module can be built for it here, and symbol versions of a module cannot be "
            "compared.",
            f"To build one, {_from(kernel, 'linux-headers', 'its headers', '--kernel-tree')}",
        )


def _from(kernel: Kernel, package: str, what: str, own: str) -> str:
    """Say where to get something of the running kernel: not every kernel is from a package."""
    if kernel.packaged:
        return f"install the package {package}-{kernel.release}."
    if kernel.packaged is None:
        return f"install the package with {what}, of the same release."
    return (
        f"get {what} from where the kernel was built ({own}), since no package that is installed "
        "has it; or boot a kernel of the distribution."
    )
