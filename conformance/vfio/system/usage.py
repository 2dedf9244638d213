# SPDX-License-Identifier: GPL-2.0-only
"""Who uses a device now: network interfaces, disks, processes. Reads sysfs and procfs only."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.vfio.system import sysfs as pci
from conformance.vfio.system.sysfs import SYSFS

#: Where procfs is mounted; another path serves unit tests.
PROC: Final = Path("/proc")

_IFF_UP: Final = 1  # linux/if.h
_RTF_UP: Final = 1  # linux/route.h


@dataclass(frozen=True)
class Interface:
    """A network interface of a function.

    ``up`` if it was set up, with or without a link; ``default_route`` if the machine reaches
    others through it, or through a bridge, bond or VLAN above it.
    """

    name: str
    up: bool
    default_route: bool


@dataclass(frozen=True)
class Disk:
    """A disk or partition of a function; ``use`` says what it is used for, empty if nothing."""

    name: str
    use: str


@dataclass(frozen=True)
class Holder:
    """A process that has a VFIO file of a device open."""

    pid: int
    command: str
    path: str


def interfaces(bdf: str, *, sysfs: Path = SYSFS, proc: Path = PROC) -> tuple[Interface, ...]:
    """Return the network interfaces of a function."""
    routed = _default_routes(proc)
    found = []
    for folder in sorted((pci.directory(bdf, sysfs=sysfs) / "net").glob("*")):
        flags = int((folder / "flags").read_text(), 16)
        above = {folder.name, *_above(folder.name, sysfs)}
        found.append(Interface(folder.name, bool(flags & _IFF_UP), bool(above & routed)))
    return tuple(found)


def _above(name: str, sysfs: Path) -> Iterator[str]:
    """Yield the interfaces that are made of another, in any depth."""
    for link in (sysfs / "class/net" / name).glob("upper_*"):
        upper = link.name.removeprefix("upper_")
        yield upper
        yield from _above(upper, sysfs)


def _default_routes(proc: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for line in (proc / "net/route").read_text().splitlines()[1:]:
            name, destination, _, flags, _, _, _, mask, *_ = line.split()
            if int(destination, 16) == int(mask, 16) == 0 and int(flags, 16) & _RTF_UP:
                found.add(name)
    with suppress(OSError):
        for line in (proc / "net/ipv6_route").read_text().splitlines():
            destination, length, *_, flags, name = line.split()
            if int(destination, 16) == int(length, 16) == 0 and int(flags, 16) & _RTF_UP:
                found.add(name)
    return found - {"lo"}


def _claimed(name: str) -> bool:
    """Return whether the kernel itself uses a block device: a file system, RAID, a volume."""
    try:
        os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def disks(
    bdf: str,
    *,
    sysfs: Path = SYSFS,
    proc: Path = PROC,
    claimed: Callable[[str], bool] = _claimed,
) -> tuple[Disk, ...]:
    """Return the disks and partitions that are reached through a function."""
    base = pci.directory(bdf, sysfs=sysfs).resolve()
    mounted = _mounted(proc)
    swaps = _swaps(proc)
    found = []
    for folder in sorted((sysfs / "class/block").glob("*")):
        if base not in folder.resolve().parents:
            continue
        number = (folder / "dev").read_text().strip()
        above = sorted(entry.name for entry in (folder / "holders").glob("*"))
        if where := mounted.get(number) or mounted.get(f"/dev/{folder.name}"):
            use = f"mounted on {where}"
        elif f"/dev/{folder.name}" in swaps:
            use = "swap space"
        elif above:
            use = f"part of {', '.join(above)}"
        else:
            use = "in use by the kernel" if claimed(folder.name) else ""
        found.append(Disk(folder.name, use))
    return tuple(found)


def _mounted(proc: Path) -> dict[str, str]:
    """Return where each block device is mounted, by number and by name."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in (proc / "self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            _, _, number, _, place, *_ = fields.split()
            found.setdefault(number, place)
            found.setdefault(rest.split()[1], place)
    return found


def _swaps(proc: Path) -> set[str]:
    with suppress(OSError):
        return {line.split()[0] for line in (proc / "swaps").read_text().splitlines()[1:]}
    return set()


def vfio_files(bdf: str, *, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Return the files through which user space gets a device: its group's, and its own."""
    files = [f"/dev/vfio/{pci.iommu_group(bdf, sysfs=sysfs)}"]
    own = pci.directory(bdf, sysfs=sysfs) / "vfio-dev"
    files += sorted(f"/dev/vfio/devices/{entry.name}" for entry in own.glob("*"))
    return tuple(files)


def holders(bdf: str, *, sysfs: Path = SYSFS, proc: Path = PROC) -> tuple[Holder, ...]:
    """Return the processes that have a device's VFIO files open, as far as we may look."""
    files = set(vfio_files(bdf, sysfs=sysfs))
    found = []
    for folder in sorted(proc.glob("[0-9]*"), key=lambda folder: int(folder.name)):
        open_files = set()
        with suppress(OSError):
            for link in (folder / "fd").iterdir():
                with suppress(OSError):
                    open_files.add(str(link.readlink()))
        for path in sorted(open_files & files):
            command = "?"
            with suppress(OSError):
                command = (folder / "comm").read_text().strip()
            found.append(Holder(int(folder.name), command, path))
    return tuple(found)
