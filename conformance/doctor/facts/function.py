# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a PCI function, of its group, and of the modules that are meant for it."""

import contextlib
import fnmatch
import re
from dataclasses import dataclass

from conformance.doctor.facts import optional
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.kernel import Kernel, aliases
from conformance.vfio.system import sysfs, usage
from conformance.vfio.system.usage import Holder

SIGNATURE = b"~Module signature appended~\n"
"""The end of a module that is signed."""


@dataclass(frozen=True)
class Match:
    """A module with an alias for the function.

    Attributes:
        module: Its name.
        override_only: Whether it is bound only where driver_override names it, as VFIO drivers are.
        any: Whether the alias is for any function, as that of vfio-pci is.
        vermagic: What it was built for; empty if not known.
        signed: Whether it is signed; None if the file could not be unpacked.
        path: Its file, below the root of the machine.
    """

    module: str
    override_only: bool
    any: bool
    vermagic: str = ""
    signed: bool | None = False
    path: str = ""


@dataclass(frozen=True)
class Member:
    """A device of the function's IOMMU group; `harmless` if it does not hinder user space."""

    name: str
    driver: str | None
    harmless: bool


@dataclass(frozen=True)
class Function:
    """A PCI function.

    Attributes:
        bdf: Its address.
        vendor: Like `device`, its ids.
        device: See there.
        driver: The driver it is bound to.
        module: The module that is from.
        vfio: Whether that driver hands it out through VFIO.
        override: The only driver it may be bound to; empty if any that matches may.
        bridge: Whether it is a bridge.
        dead: Whether it does not answer: its configuration space reads as ones.
        power: Its power state, as sysfs has it: D0, D3cold.
        physical: The physical function of which this is a virtual one.
        physical_vfio: Whether a VFIO driver has that one.
        total: How many virtual functions it can have; 0 if it is no physical function.
        virtual: Those that it has.
        autoprobe: Whether these are offered to the host's drivers when they are made.
        group: Its IOMMU group.
        group_name: What sysfs calls that group: ``vfio-noiommu`` for one without an IOMMU.
        members: All devices of the group but itself.
        direct: Ranges of memory that firmware wants mapped 1:1 for the group.
        resets: How it can be reset; None if the kernel does not say.
        files: The files of VFIO for it that are there.
        locked: Those of them which this user may not open.
        holders: Processes that have such a file open.
        interfaces: Network interfaces that are up on it.
        matches: Modules with an alias for it.
        elsewhere: Modules with an alias for it that other kernels have: release and module.
        log: What the kernel said of it.
    """

    bdf: str
    vendor: int = 0
    device: int = 0
    driver: str | None = None
    module: str | None = None
    vfio: bool = False
    override: str = ""
    bridge: bool = False
    dead: bool = False
    power: str = ""
    physical: str | None = None
    physical_vfio: bool = False
    total: int = 0
    virtual: tuple[str, ...] = ()
    autoprobe: bool = True
    group: str | None = None
    group_name: str = ""
    members: tuple[Member, ...] = ()
    direct: tuple[str, ...] = ()
    resets: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    holders: tuple[Holder, ...] = ()
    interfaces: tuple[str, ...] = ()
    matches: tuple[Match, ...] = ()
    elsewhere: tuple[tuple[str, str], ...] = ()
    log: tuple[str, ...] = ()

    @property
    def ids(self) -> str:
        """Vendor and device as people write them."""
        return f"{self.vendor:04x}:{self.device:04x}"

    @property
    def plain(self) -> bool:
        """Whether it is bound to vfio-pci itself, which knows nothing of migration."""
        return self.vfio and self.driver == "vfio-pci"

    @property
    def variants(self) -> tuple[Match, ...]:
        """Modules with a VFIO driver that is meant for this very function."""
        return tuple(match for match in self.matches if match.override_only and not match.any)


def gather(host: Host, bdf: str, kernel: Kernel) -> Function:
    """Read what is known of a function.

    Raises:
        SysfsError: There is no such function.
    """
    who = sysfs.function(bdf, sysfs=host.sysfs)
    folder = f"/sys/bus/pci/devices/{bdf}"
    has_group = host.exists(f"{folder}/iommu_group")
    group = sysfs.iommu_group(bdf, sysfs=host.sysfs) if has_group else None
    files = _files(host, bdf) if group else ()
    physical = sysfs.physical_function(bdf, sysfs=host.sysfs)
    return Function(
        bdf=bdf,
        vendor=who.vendor or 0,
        device=who.device or 0,
        driver=who.driver,
        module=sysfs.module(who.driver, sysfs=host.sysfs) if who.driver else None,
        vfio=sysfs.offers_vfio(bdf, sysfs=host.sysfs),
        override=sysfs.driver_override(bdf, sysfs=host.sysfs),
        bridge=sysfs.is_bridge(bdf, sysfs=host.sysfs),
        dead=sysfs.is_dead(sysfs.config(bdf, sysfs=host.sysfs)),
        power=host.text(f"{folder}/power_state") or "",
        physical=physical,
        physical_vfio=bool(physical) and sysfs.offers_vfio(physical or "", sysfs=host.sysfs),
        total=host.number(f"{folder}/sriov_totalvfs"),
        virtual=sysfs.virtual_functions(bdf, sysfs=host.sysfs),
        autoprobe=host.text(f"{folder}/sriov_drivers_autoprobe") != "0",
        group=group,
        group_name=host.text(f"/sys/kernel/iommu_groups/{group}/name") or "" if group else "",
        members=_members(host, bdf) if group else (),
        direct=sysfs.direct_regions(group, sysfs=host.sysfs) if group else (),
        resets=_resets(host, folder),
        files=files,
        locked=tuple(file for file in files if not host.usable(file)),
        holders=usage.holders(bdf, sysfs=host.sysfs, proc=host.proc) if group else (),
        interfaces=_interfaces(host, bdf),
        matches=matches(host, kernel, sysfs.modalias(bdf, sysfs=host.sysfs)),
        elsewhere=_elsewhere(host, kernel, sysfs.modalias(bdf, sysfs=host.sysfs)),
        log=tuple(line for line in host.log() if _is_about(line, bdf)),
    )


def candidates(host: Host) -> tuple[str, ...]:
    """Return the functions that somebody may want to migrate: no bridges, no parts of a chipset.

    Those with SR-IOV, virtual ones, and all that a VFIO driver has.
    """
    found = []
    for bdf in host.names("/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{bdf}"
        virtual = host.exists(f"{folder}/physfn")
        able = host.number(f"{folder}/sriov_totalvfs") > 0
        if virtual or able or host.exists(f"{folder}/vfio-dev"):
            found.append(bdf)
    return tuple(found)


def matches(host: Host, kernel: Kernel, modalias: str) -> tuple[Match, ...]:
    """Return the modules with an alias for a function, those meant for it in particular first."""
    found: dict[str, Match] = {}
    for pattern, module in kernel.aliases:
        override = pattern.startswith("vfio_pci:")
        wanted = modalias.replace("pci:", "vfio_pci:", 1) if override else modalias
        if module not in found and fnmatch.fnmatchcase(wanted, pattern):
            found[module] = _match(host, kernel, module, pattern)
    return tuple(sorted(found.values(), key=lambda one: (not one.override_only, one.any)))


def _match(host: Host, kernel: Kernel, module: str, pattern: str) -> Match:
    path = (kernel.installed or {}).get(module.replace("-", "_"), "")
    where = f"/lib/modules/{kernel.release}/{path}" if path else ""
    override = pattern.startswith("vfio_pci:")
    everything = "v*d*" in pattern
    if not where or not override or everything:
        return Match(module, override, everything, path=where)
    data = None
    with contextlib.suppress(OSError):
        data = optional.unpacked(host.path(where))
    signed = None if data is None else data.endswith(SIGNATURE)
    return Match(module, override, everything, vermagic(data or b""), signed, where)


def vermagic(data: bytes) -> str:
    """Return what the module in an ELF file says it was built for; empty if it does not."""
    found = re.search(rb"(?:\A|\0)vermagic=([^\0]*)\0", data)
    return found[1].decode(errors="replace").strip() if found else ""


def _elsewhere(host: Host, kernel: Kernel, modalias: str) -> tuple[tuple[str, str], ...]:
    wanted = modalias.replace("pci:", "vfio_pci:", 1)
    return tuple(
        (release, module)
        for release in kernel.others
        for pattern, module in aliases(host, release)
        if pattern.startswith("vfio_pci:")
        and "v*d*" not in pattern
        and fnmatch.fnmatchcase(wanted, pattern)
    )


def _members(host: Host, bdf: str) -> tuple[Member, ...]:
    found = []
    for name in sysfs.group_members(bdf, sysfs=host.sysfs):
        if name == bdf:
            continue
        if not host.exists(f"/sys/bus/pci/devices/{name}"):
            found.append(Member(name, None, True))  # not a PCI function
            continue
        driver = sysfs.driver(name, sysfs=host.sysfs)
        found.append(Member(name, driver, sysfs.leaves_dma(name, sysfs=host.sysfs)))
    return tuple(found)


def _is_about(line: str, bdf: str) -> bool:
    """Return whether a message is of a function itself: driver or bus, address, colon.

    >>> _is_about("igb 0000:01:00.0: up", "0000:01:00.0")
    True
    >>> _is_about("pcieport 0000:00:01.0: device behind: 0000:01:00.0", "0000:01:00.0")
    False
    """
    return re.match(rf"(?:[\w.-]+ )?{re.escape(bdf)}: ", line) is not None


def _files(host: Host, bdf: str) -> tuple[str, ...]:
    wanted = ("/dev/vfio/vfio", *usage.vfio_files(bdf, sysfs=host.sysfs))
    return tuple(one for one in wanted if host.exists(one))


def _resets(host: Host, folder: str) -> tuple[str, ...] | None:
    text = host.text(f"{folder}/reset_method")
    if text is not None:
        return tuple(text.split())
    if not host.exists(folder):
        return None
    return ("unknown",) if host.exists(f"{folder}/reset") else ()


def _interfaces(host: Host, bdf: str) -> tuple[str, ...]:
    found = usage.interfaces(bdf, sysfs=host.sysfs, proc=host.proc)
    return tuple(one.name for one in found if one.up)
