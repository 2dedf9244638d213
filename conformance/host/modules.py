# SPDX-License-Identifier: GPL-2.0-only
"""Kernel modules of this machine: which are loaded, dependencies, loading, removing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from conformance.host.paths import HostPaths
from kpatch.errors import ProgramFailed
from kpatch.tools import programs

TYPE1 = "vfio_iommu_type1"
"""Modules that a container needs and no driver depends on."""


def loaded(name: str, host: HostPaths) -> bool:
    """Return whether a module is loaded; what is built in is not."""
    return (host.sysfs / "module" / name / "initstate").exists()


def there(name: str, host: HostPaths) -> bool:
    """Return whether the kernel has a module, loaded or built in."""
    return (host.sysfs / "module" / name).is_dir()


def users(name: str, host: HostPaths) -> int:
    """Return how many users a loaded module has."""
    try:
        return int((host.sysfs / "module" / name / "refcnt").read_text())
    except OSError:
        return 0


def drivers(name: str, host: HostPaths) -> list[str]:
    """Return the PCI drivers that a loaded module has registered."""
    links = (host.sysfs / "module" / name / "drivers").glob("pci:*")
    return sorted(link.name.removeprefix("pci:") for link in links)


def coming(names: Iterable[str], host: HostPaths) -> list[str]:
    """Return the modules that are loaded with some of the kernel's own, in that order.

    What is loaded already, or built in, is skipped.

    Raises:
        ProgramFailed: The kernel has no such module.
    """
    found: dict[str, None] = {}
    for name in names:
        if there(name_of(name), host):
            continue
        argv = ["modprobe", "--show-depends", name]
        hint = "Is /lib/modules of the running kernel complete? Run depmod."
        for line in programs.run(argv, hint=hint).stdout.splitlines():
            kind, _, path = line.strip().partition(" ")
            if kind == "insmod":
                found[name_of(path.split()[0])] = None
    return [name for name in found if not there(name, host)]


def name_of(path: str) -> str:
    """Return the name of the module in a file.

    >>> name_of("/lib/modules/6.12/kernel/drivers/vfio/vfio-pci-core.ko.xz")
    'vfio_pci_core'
    """
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def load(names: Sequence[str]) -> None:
    """Load modules of the kernel. Raises :class:`ProgramFailed`."""
    for name in names:
        programs.run(["modprobe", name])


def insert(path: Path) -> None:
    """Load the module in a file; what it needs must be there. Raises :class:`ProgramFailed`."""
    programs.run(["insmod", str(path)])


def remove(names: Iterable[str], host: HostPaths) -> list[str]:
    """Remove those of some modules that are loaded and not in use by others.

    Returns:
        The names of those that stay, since they are in use.

    Raises:
        ProgramFailed: The kernel does not let one go.
    """
    left = [name for name in names if loaded(name, host)]
    while ready := [name for name in left if users(name, host) == 0]:
        for name in ready:
            _remove(name, host)
            left.remove(name)
    return left


def _remove(name: str, host: HostPaths) -> None:
    try:
        programs.run(["rmmod", name])
    except ProgramFailed:
        if loaded(name, host):  # else somebody was faster
            raise
