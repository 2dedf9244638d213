# SPDX-License-Identifier: GPL-2.0-only
"""Whether a function of this machine may be judged: objections, and what needs consent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from conformance.host.errors import Reason
from conformance.host.paths import HostPaths
from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs, usage

UNBIND = "--unbind"
PHYSICAL = "--physical"


@dataclass(frozen=True)
class Question:
    """What is done only with consent.

    Attributes:
        what: What would happen, one sentence.
        option: The option that consents beforehand.
    """

    what: str
    option: str


@dataclass
class Look:
    """Objections and questions about the functions of a run."""

    refused: list[Reason] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def refuse(self, what: str, do: str) -> None:
        """Record an objection that no consent overrides."""
        self.refused.append(Reason(what, do))


def to_bind(names: Sequence[str], host: HostPaths, *, uid: int) -> Look:
    """Look at functions that shall be bound to a driver under test.

    Args:
        names: The device and its peer.
        host: Where the files of this machine are.
        uid: Who asks.
    """
    look = Look()
    if uid != 0:
        look.refuse(
            "Only root can bind functions and load modules.",
            "Run it with sudo: `sudo make check BDF=...`.",
        )
    for name in _known(names, host, look):
        if not sysfs.is_pci(name):
            look.refuse(
                f"{name} is not a PCI function.", "Judge it as it is bound: `run --device`."
            )
            continue
        if sysfs.is_bridge(name, sysfs=host.sysfs):
            look.refuse(f"{name} is a bridge.", "Name the function behind it.")
            continue
        _answers(name, host, look)
        if _group(name, host, look):
            _others_of_group(name, names, host, look)
            _held(name, host, look)
        _interfaces(name, host, look)
        _disks(name, host, look)
        _bound(name, host, look)
        _physical(name, host, look, bind=True)
    return look


def as_bound(names: Sequence[str], host: HostPaths) -> Look:
    """Look at devices that shall be judged as they are."""
    look = Look()
    for name in _known(names, host, look):
        driver = sysfs.driver(name, sysfs=host.sysfs)
        if not sysfs.offers_vfio(name, sysfs=host.sysfs):
            is_bound = f"bound to {driver}, which does not offer it through VFIO"
            look.refuse(
                f"{name} is {is_bound if driver else 'bound to no driver'}.",
                "Bind the driver to be judged first, or have the kit's own driver built, bound "
                f"and judged: `check --bdf {name}`.",
            )
            continue
        _answers(name, host, look)
        if _group(name, host, look):
            _others_of_group(name, names, host, look)
            _held(name, host, look)
            _access(name, host, look)
        if sysfs.is_pci(name):
            _physical(name, host, look, bind=False)
    return look


def _known(names: Sequence[str], host: HostPaths, look: Look) -> Iterator[str]:
    """Yield the names of existing devices."""
    if len(set(names)) < len(names):
        look.refuse("Device and peer are the same.", "Name two functions, or no peer.")
    for name in dict.fromkeys(names):
        if _is_device(name, host):
            yield name
        elif re.fullmatch(r"[0-9a-fA-F]{1,2}:[0-9a-fA-F]{1,2}\.[0-7]", name):
            look.refuse(
                f"{name} lacks the PCI domain.",
                f"Write the domain, too: 0000:{name.lower()}.",
            )
        elif sysfs.is_pci(name):
            look.refuse(
                f"There is no PCI function {name}.",
                "`lspci -D` lists all; virtual functions are made by writing their number to "
                "sriov_numvfs of the physical one.",
            )
        else:
            look.refuse(
                f"There is no device {name!r}.",
                "A PCI function has an address such as 0000:3b:02.0; `lspci -D` lists all.",
            )


def _is_device(name: str, host: HostPaths) -> bool:
    try:
        sysfs.directory(name, sysfs=host.sysfs)
    except SysfsError:
        return False
    return True


def _group(name: str, host: HostPaths, look: Look) -> bool:
    if not (sysfs.directory(name, sysfs=host.sysfs) / "iommu_group").exists():
        look.refuse(
            f"{name} is in no IOMMU group: the IOMMU is off.",
            "Turn it on in the firmware (VT-d, AMD-Vi) and boot with intel_iommu=on on Intel.",
        )
        return False
    number = sysfs.iommu_group(name, sysfs=host.sysfs)
    kind = host.sysfs / "kernel/iommu_groups" / number / "name"
    # The groups of software devices have the same name, rightly.
    if sysfs.is_pci(name) and kind.exists() and kind.read_text().strip() == "vfio-noiommu":
        look.refuse(
            f"{name} is in vfio-noiommu mode, which the suite does not support.",
            "Turn the IOMMU on, and vfio's enable_unsafe_noiommu_mode off.",
        )
        return False
    if ranges := sysfs.direct_regions(number, sysfs=host.sysfs):
        look.refuse(
            f"The firmware wants memory mapped 1:1 for the IOMMU group {number} of {name} "
            f"({', '.join(ranges)}), and the kernel gives no such device to user space.",
            "Switch off in the firmware's setup what uses that memory, or use another slot.",
        )
    return True


def _answers(name: str, host: HostPaths, look: Look) -> None:
    """Refuse what cannot be opened, whatever driver it has."""
    if sysfs.is_dead(sysfs.config(name, sysfs=host.sysfs)):
        look.refuse(
            f"{name} does not answer: its configuration space reads as ones.",
            "Power the machine off and on.",
        )
    physical = sysfs.physical_function(name, sysfs=host.sysfs)
    if physical and sysfs.offers_vfio(physical, sysfs=host.sysfs):
        look.refuse(
            f"{physical}, the physical function of {name}, belongs to VFIO: opening {name} then "
            "takes a VF token, which the suite does not give.",
            f"Bind {physical} to its own driver and make the virtual functions anew.",
        )


def _others_of_group(name: str, ours: Sequence[str], host: HostPaths, look: Look) -> None:
    for other in sysfs.group_members(name, sysfs=host.sysfs):
        if other in ours:
            if ours.index(other) > ours.index(name):
                look.refuse(
                    f"{name} and {other} are in one IOMMU group, which can be opened only once.",
                    "Name a peer in a group of its own, or no peer.",
                )
            continue
        if sysfs.leaves_dma(other, sysfs=host.sysfs):
            continue
        driver = sysfs.driver(other, sysfs=host.sysfs)
        number = sysfs.iommu_group(name, sysfs=host.sysfs)
        look.refuse(
            f"IOMMU group {number} of {name} is not viable: {other} in it is bound to {driver}.",
            f"Unbind {other} or bind it to vfio-pci, if nothing needs it; or use a slot behind "
            "a port with ACS, where functions have groups of their own.",
        )


def _held(name: str, host: HostPaths, look: Look) -> None:
    for holder in usage.holders(name, sysfs=host.sysfs, proc=host.proc):
        look.refuse(
            f"{name} is in use: {holder.command} (process {holder.pid}) has {holder.path} open.",
            "End that program; it may be a virtual machine.",
        )


def _access(name: str, host: HostPaths, look: Look) -> None:
    for path in (f"vfio/{sysfs.iommu_group(name, sysfs=host.sysfs)}", "vfio/vfio"):
        file = host.dev / path
        if not os.access(file, os.R_OK | os.W_OK):
            look.refuse(
                f"{file}, through which {name} is used, "
                f"{'cannot be opened by this user' if file.exists() else 'is not there'}.",
                "Run it with sudo." if file.exists() else "Load the module vfio_iommu_type1.",
            )


def _interfaces(name: str, host: HostPaths, look: Look) -> None:
    for interface in usage.interfaces(name, sysfs=host.sysfs, proc=host.proc):
        if interface.default_route:
            look.refuse(
                f"{name} has the network interface {interface.name}, which has the default route.",
                "Use another function, or route through another interface first.",
            )
        elif interface.up:
            look.questions.append(
                Question(
                    f"The network interface {interface.name} of {name} is up. It disappears for "
                    "the run; afterwards its addresses and routes are lost.",
                    UNBIND,
                )
            )


def _disks(name: str, host: HostPaths, look: Look) -> None:
    for disk in usage.disks(name, sysfs=host.sysfs, proc=host.proc):
        if disk.use:
            look.refuse(
                f"{name} has the disk {disk.name}, which is {disk.use}.",
                "Use another function. A disk in use is never unbound.",
            )


def _bound(name: str, host: HostPaths, look: Look) -> None:
    driver = sysfs.driver(name, sysfs=host.sysfs)
    if sysfs.leaves_dma(name, sysfs=host.sysfs):
        return
    look.questions.append(
        Question(
            f"{name} is bound to {driver}. It would be unbound for the run and bound again "
            "afterwards.",
            UNBIND,
        )
    )


def _physical(name: str, host: HostPaths, look: Look, *, bind: bool) -> None:
    folder = sysfs.directory(name, sysfs=host.sysfs)
    if not (folder / "sriov_totalvfs").exists():
        return
    virtual = sysfs.virtual_functions(name, sysfs=host.sysfs)
    if virtual and bind:
        look.refuse(
            f"{name} is a physical function with {len(virtual)} virtual ones, which vanish when "
            "it is unbound and cannot be restored.",
            f"Name one of these instead: {' '.join(virtual[:8])}. Or write 0 to its sriov_numvfs "
            "first.",
        )
    elif virtual:
        look.questions.append(
            Question(
                f"{name} is a physical function with {len(virtual)} virtual ones. The suite "
                "resets it again and again, which cuts off their users.",
                PHYSICAL,
            )
        )
    elif bind:
        look.questions.append(
            Question(
                f"{name} is a physical function, not a virtual one. The whole adapter would be "
                "bound, reset and written to.",
                PHYSICAL,
            )
        )
