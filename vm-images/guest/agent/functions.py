# SPDX-License-Identifier: GPL-2.0-only
"""The functions under test: made here, plugged by the host, or brought along by their driver."""

import fcntl
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from agent.errors import Failure

_BUSES = Path("/sys/bus")
_PCI = _BUSES / "pci"
_NET = Path("/sys/class/net")
_PLUG_TIMEOUT = 20.0
"""Seconds; plugging takes one."""
_LINK_TIMEOUT = 30.0
"""Seconds; auto-negotiation takes some of them."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
"""From linux/sockios.h."""
_IFF_UP = 1
"""From linux/if.h."""


def make(settings: Mapping[str, str]) -> list[str]:
    """Make the virtual functions, without a driver, and return their addresses.

    Returns:
        The addresses; none where the host plugs the functions before it gives its order.

    Raises:
        Failure: They did not come.
    """
    if not settings["PHYSICAL"]:
        return []
    physical = next(iter(_folders(settings["PHYSICAL"])), None)
    if physical is None:
        raise Failure(f"no PCI function {settings['PHYSICAL']} came up")
    (physical / "sriov_drivers_autoprobe").write_text("0")
    (physical / "sriov_numvfs").write_text(settings["COUNT"])
    links = sorted(physical.glob("virtfn*"), key=lambda link: int(link.name.removeprefix("virtfn")))
    for link in links:
        if not (link / "iommu_group").exists():
            name = link.resolve().name
            raise Failure(f"{name} is in no IOMMU group: the machine's IOMMU did not come up")
    if settings["NETWORK"]:
        set_up(settings["NETWORK"])
    return [link.resolve().name for link in links]


def set_up(interface: str) -> None:
    """Set a network interface up, without an address, and wait for its link.

    Raises:
        Failure: There is none of that name, or its link does not come.
    """
    if not (_NET / interface).exists():
        raise Failure(f"there is no network interface {interface}: the machine names another")
    ipv6 = Path("/proc/sys/net/ipv6/conf", interface, "disable_ipv6")
    if ipv6.exists():
        ipv6.write_text("1")  # it sends nothing of its own
    # Any socket can ask, and a small kernel may have no others.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        form = struct.Struct("16sh22x")
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, form.pack(interface.encode(), 0))
        flags = form.unpack(asked)[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, form.pack(interface.encode(), flags | _IFF_UP))
    deadline = time.monotonic() + _LINK_TIMEOUT
    while (_NET / interface / "carrier").read_text() != "1\n":
        if time.monotonic() > deadline:
            raise Failure(f"the link of {interface} did not come up in {_LINK_TIMEOUT:g} s")
        time.sleep(0.01)


def wait_for(settings: Mapping[str, str]) -> list[str]:
    """Wait for the functions that the host plugs, and return their addresses.

    Raises:
        Failure: They did not come.
    """
    wanted, count = settings["VIRTUAL"], int(settings["COUNT"])
    deadline = time.monotonic() + _PLUG_TIMEOUT
    while time.monotonic() < deadline:
        found = [folder.name for folder in _folders(wanted) if (folder / "iommu_group").exists()]
        if len(found) == count:
            return found
        time.sleep(0.01)
    raise Failure(
        f"{count} functions {wanted} in IOMMU groups did not come; plugging them takes a kernel "
        "with CONFIG_HOTPLUG_PCI_ACPI, and the groups one with CONFIG_INTEL_IOMMU"
    )


def are_software(settings: Mapping[str, str]) -> bool:
    """Return whether the functions come and go with the module of their driver."""
    return not settings["VIRTUAL"]


def of_module(name: str) -> list[str]:
    """Return the names of the software devices that a module has brought.

    Raises:
        Failure: There is none, or one is not offered by VFIO.
    """
    drivers = Path("/sys/module", name, "drivers").iterdir()
    found = sorted(link for driver in drivers for link in driver.iterdir() if link.is_symlink())
    found = [link for link in found if link.name != "module"]
    if not found:
        raise Failure(f"the module {name} was loaded but brought no device")
    for link in found:
        if not (link / "iommu_group").exists():
            raise Failure(f"{link.name} of the module {name} was not registered with VFIO")
    return [link.name for link in found]


def expect_gone(names: list[str]) -> None:
    """Look for software devices of a module that was unloaded.

    Raises:
        Failure: One is still there: the module cannot be loaded again.
    """
    for name in names:
        if left := next(_BUSES.glob(f"*/devices/{name}"), None):
            raise Failure(f"the module was unloaded and left the device {left} behind")


def make_mediated(parent: str, kind: str, count: int) -> list[str]:
    """Make mediated devices of a type, and return their names.

    Raises:
        Failure: One is not made, or not offered by VFIO.
    """
    make = Path(parent, "mdev_supported_types", kind, "create")
    names = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, count + 1)]
    for name in names:
        try:
            make.write_text(name)
        except OSError as error:
            raise Failure(f"{make} does not make a device: {error.strerror}") from error
        if not (Path("/sys/bus/mdev/devices") / name / "iommu_group").exists():
            raise Failure(f"the mediated device {name} was not registered with VFIO")
    return names


def bind(addresses: list[str], driver: str) -> None:
    """Bind each function to a driver.

    Raises:
        Failure: The driver does not take one.
    """
    for address in addresses:
        folder = _PCI / "devices" / address
        (folder / "driver_override").write_text(driver)
        try:
            (_PCI / "drivers_probe").write_text(address)
        except OSError as error:
            words = f"the driver {driver} does not bind to {address}: {error.strerror}"
            raise Failure(words) from error
        link = folder / "driver"
        if not link.exists() or link.resolve().name != driver:
            raise Failure(f"the driver {driver} does not bind to {address}: its probe failed")


def unbind(addresses: list[str]) -> None:
    """Unbind each function that has a driver."""
    for address in addresses:
        folder = _PCI / "devices" / address
        if (folder / "driver").exists():
            (folder / "driver/unbind").write_text(address)
            if left := list(folder.glob("vfio-dev/*")):
                raise Failure(f"the driver was taken from {address} and left {left[0]} behind")
        (folder / "driver_override").write_text("\n")


def _folders(wanted: str) -> list[Path]:
    """Return the folders of all functions that have that vendor:device, by address."""

    def ids(folder: Path) -> str:
        names = ("vendor", "device")
        return ":".join((folder / name).read_text().strip().removeprefix("0x") for name in names)

    return [folder for folder in sorted((_PCI / "devices").iterdir()) if ids(folder) == wanted]
