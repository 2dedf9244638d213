# SPDX-License-Identifier: GPL-2.0-only
"""Devices in sysfs: identity, driver, IOMMU group, binding with restore.

A device has the name that it has on its bus. That of a PCI function is its address (BDF); a
software device is on another bus, and has no ids that sysfs would know.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.vfio.errors import SysfsError

# The kernel writes a domain with at least four digits; behind Intel's VMD they have five.
_BDF: Final = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")

#: Drivers besides VFIO's that set driver_managed_dma: with them a member of an IOMMU group does
#: not keep user space from it. Checked against Linux 6.12 and 7.3: all others claim its DMA.
_MANAGED_DMA: Final = frozenset({"pcieport", "pci-stub"})

_HEADER_TYPE: Final = 0x0E  # linux/pci_regs.h
_BRIDGE_CLASSES: Final = (0x0604, 0x0607, 0x0609)  # those to PCI or CardBus

#: Where sysfs is mounted; another path serves unit tests.
SYSFS: Final = Path("/sys")


@dataclass(frozen=True)
class Function:
    """Who a function is: ids as numbers, None of a software device; its driver, None for none."""

    bdf: str
    vendor: int | None
    device: int | None
    driver: str | None


def is_pci(name: str) -> bool:
    """Return whether a name is the address of a PCI function, such as 0000:01:10.0."""
    return _BDF.fullmatch(name) is not None


def address(text: str) -> str | None:
    """Return the address of a PCI function as sysfs has it, None if the text is none.

    Upper case and a domain that is left out are understood.

    >>> address("3B:02.0"), address("10000:e1:00.0"), address("3b:20.0")
    ('0000:3b:02.0', '10000:e1:00.0', None)
    """
    full = text.lower() if text.count(":") == 2 else f"0000:{text.lower()}"
    return full if is_pci(full) else None


def _text(path: Path) -> str:
    """Read a file. Raises :class:`SysfsError` if that cannot be."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        raise SysfsError(f"{path}: {error.strerror}") from error


def _hex(path: Path) -> int:
    """Read a number as sysfs has it. Raises :class:`SysfsError` if there is none."""
    text = _text(path)
    try:
        return int(text, 16)
    except ValueError as error:
        raise SysfsError(f"{path} has no number, but {text!r}") from error


def directory(bdf: str, *, sysfs: Path = SYSFS) -> Path:
    """Return a device's folder. Raises :class:`SysfsError` if there is no such device."""
    if "/" in bdf or not bdf.strip("."):
        raise SysfsError(f"{bdf!r} is not a device name")
    path = sysfs / "bus/pci/devices" / bdf
    if path.is_dir():
        return path
    if is_pci(bdf):
        known = sorted(entry.name for entry in (sysfs / "bus/pci/devices").glob("*"))
        raise SysfsError(f"there is no PCI function {bdf}; there are: {', '.join(known) or 'none'}")
    found = [one / "devices" / bdf for one in sorted((sysfs / "bus").glob("*"))]
    found = [path for path in found if path.is_dir()]
    if not found:
        raise SysfsError(f"there is no device {bdf} on any bus of {sysfs / 'bus'}")
    return found[0]


def bus(bdf: str, *, sysfs: Path = SYSFS) -> Path:
    """Return the folder of a device's bus. Raises :class:`SysfsError` if there is no device."""
    return directory(bdf, sysfs=sysfs).parent.parent


def function(bdf: str, *, sysfs: Path = SYSFS) -> Function:
    """Return a device's identity. Raises :class:`SysfsError` if there is no such device."""
    path = directory(bdf, sysfs=sysfs)
    vendor = device = None
    if is_pci(bdf):
        vendor, device = (_hex(path / key) for key in ("vendor", "device"))
    return Function(bdf, vendor, device, driver(bdf, sysfs=sysfs))


def driver(bdf: str, *, sysfs: Path = SYSFS) -> str | None:
    """Return the name of the driver a function is bound to, or None."""
    link = directory(bdf, sysfs=sysfs) / "driver"
    return link.resolve().name if link.exists() else None


def module(driver_name: str, *, sysfs: Path = SYSFS) -> str | None:
    """Return the name of the module a driver comes from, None if it is built in."""
    links = sorted((sysfs / "bus").glob(f"*/drivers/{driver_name}/module"))
    return links[0].resolve().name if links else None


def iommu_group(bdf: str, *, sysfs: Path = SYSFS) -> str:
    """Return the number of a function's IOMMU group, for example ``"12"``."""
    link = directory(bdf, sysfs=sysfs) / "iommu_group"
    if not link.exists():
        raise SysfsError(
            f"{bdf} has no IOMMU group; start the kernel with its IOMMU on (intel_iommu=on)"
        )
    return link.resolve().name


def group_members(bdf: str, *, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Return the names of all devices in a function's IOMMU group, itself included.

    Raises :class:`SysfsError` if it has no group.
    """
    iommu_group(bdf, sysfs=sysfs)
    folder = directory(bdf, sysfs=sysfs) / "iommu_group/devices"
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except OSError as error:
        raise SysfsError(f"{folder}: {error.strerror}") from error


def direct_regions(group: str, *, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Return the ranges of memory that firmware wants mapped 1:1 for an IOMMU group.

    The kernel gives no device of such a group to user space. Those that are ``direct-relaxable``
    hinder nobody.
    """
    path = sysfs / "kernel/iommu_groups" / group / "reserved_regions"
    try:
        words = [line.split() for line in _text(path).splitlines()]
    except SysfsError:  # a kernel from before the file
        return ()
    return tuple(f"{word[0]}-{word[1]}" for word in words if len(word) == 3 and word[2] == "direct")


def driver_override(bdf: str, *, sysfs: Path = SYSFS) -> str:
    """Return the only driver a function may be bound to; empty if any that matches may."""
    text = _text(directory(bdf, sysfs=sysfs) / "driver_override")
    return "" if text == "(null)" else text


def may_be_bound(bdf: str, *, sysfs: Path = SYSFS) -> bool:
    """Return whether the bus of a device lets a user say to which driver it is bound."""
    return (directory(bdf, sysfs=sysfs) / "driver_override").exists()


def modalias(bdf: str, *, sysfs: Path = SYSFS) -> str:
    """Return what the aliases of modules are matched with, ``pci:v00008086d...``."""
    return _text(directory(bdf, sysfs=sysfs) / "modalias")


def is_bridge(bdf: str, *, sysfs: Path = SYSFS) -> bool:
    """Return whether a function is a bridge to PCI or CardBus, which VFIO never hands out.

    VFIO goes by the type of its header (vfio_pci_core_register_device): an ISA bridge has that of
    an endpoint. By the class, where the header cannot be read.
    """
    folder = directory(bdf, sysfs=sysfs)
    header = config(bdf, sysfs=sysfs)
    if len(header) > _HEADER_TYPE and not is_dead(header):
        return header[_HEADER_TYPE] & 0x7F != 0
    return _hex(folder / "class") >> 8 in _BRIDGE_CLASSES


def config(bdf: str, *, sysfs: Path = SYSFS) -> bytes:
    """Return the header of a function's configuration space; nothing if it cannot be read."""
    try:
        with (directory(bdf, sysfs=sysfs) / "config").open("rb") as file:
            return file.read(64)
    except OSError:
        return b""


def is_dead(header: bytes) -> bool:
    """Tell by its header whether a function does not answer: the bus reads as ones then."""
    return bool(header) and not header.strip(b"\xff")


def leaves_dma(bdf: str, *, sysfs: Path = SYSFS) -> bool:
    """Return whether a device's driver, if it has one, lets its IOMMU group be user space's.

    pci_dma_configure() claims the DMA of the group for every driver without driver_managed_dma.
    """
    name = driver(bdf, sysfs=sysfs)
    return name is None or name in _MANAGED_DMA or offers_vfio(bdf, sysfs=sysfs)


def offers_vfio(bdf: str, *, sysfs: Path = SYSFS) -> bool:
    """Return whether the driver of a device, whatever its name, hands it out through VFIO."""
    return (directory(bdf, sysfs=sysfs) / "vfio-dev").is_dir()


def physical_function(bdf: str, *, sysfs: Path = SYSFS) -> str | None:
    """Return the physical function a virtual one belongs to, None if this is not a virtual one."""
    link = directory(bdf, sysfs=sysfs) / "physfn"
    return link.resolve().name if link.exists() else None


def virtual_functions(bdf: str, *, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Return the virtual functions that a physical one has now, in their order."""
    links = directory(bdf, sysfs=sysfs).glob("virtfn*")
    ordered = sorted(links, key=lambda link: int(link.name.removeprefix("virtfn")))
    return tuple(link.resolve().name for link in ordered)


def bar_address(bdf: str, index: int, *, sysfs: Path = SYSFS) -> int:
    """Return where a BAR begins on the bus, -1 if the device has no such BAR on any."""
    if not is_pci(bdf):
        return -1
    lines = (directory(bdf, sysfs=sysfs) / "resource").read_text().splitlines()
    start, end = (int(word, 16) for word in lines[index].split()[:2]) if index < 6 else (0, 0)
    return start if end else -1


def users(module: str, *, sysfs: Path = SYSFS) -> int | None:
    """Return how many users a module has, None if the kernel does not say."""
    try:
        return int((sysfs / "module" / module / "refcnt").read_text())
    except (OSError, ValueError):
        return None


def users_of_all(*, sysfs: Path = SYSFS) -> int:
    """Return how many users all modules have, each counted by itself."""
    return sum(users(path.name, sysfs=sysfs) or 0 for path in (sysfs / "module").iterdir())


def unbind(bdf: str, *, sysfs: Path = SYSFS) -> None:
    """Take a function from its driver, if it has one."""
    if driver(bdf, sysfs=sysfs) is not None:
        (directory(bdf, sysfs=sysfs) / "driver/unbind").write_text(bdf)


def override(bdf: str, name: str | None, *, sysfs: Path = SYSFS) -> None:
    """Set driver_override, or clear it with None."""
    (directory(bdf, sysfs=sysfs) / "driver_override").write_text(name or "\n")


def bind(bdf: str, name: str, *, sysfs: Path = SYSFS) -> None:
    """Bind a function to the named driver, whatever it was bound to.

    Raises :class:`SysfsError` if the driver is not there or did not take the function.
    """
    if driver(bdf, sysfs=sysfs) == name:
        return
    unbind(bdf, sysfs=sysfs)
    override(bdf, name, sysfs=sysfs)
    (bus(bdf, sysfs=sysfs) / "drivers_probe").write_text(bdf)
    now = driver(bdf, sysfs=sysfs)
    if now != name:
        raise SysfsError(
            f"{bdf} was offered to {name} and is bound to {now or 'no driver'}; is the driver's "
            "module loaded, and does the kernel log say why its probe failed?"
        )


@contextmanager
def bound(bdf: str, name: str, *, sysfs: Path = SYSFS) -> Iterator[None]:
    """Bind a function to a driver for a block; give it back to the former driver after it."""
    before = driver(bdf, sysfs=sysfs)
    try:
        bind(bdf, name, sysfs=sysfs)
        yield
    finally:
        if before is None:
            unbind(bdf, sysfs=sysfs)
            override(bdf, None, sysfs=sysfs)
        else:
            bind(bdf, before, sysfs=sysfs)
