# SPDX-License-Identifier: GPL-2.0-only
"""A machine made of plain files below a folder, with a kernel that is a few lines of Python."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

VFIO_DRIVERS = ("vfio-pci", "igb_vf_vfio_pci")


class FakeHost:
    """sysfs, procfs and the PCI core's answers to what is written there.

    Attributes:
        ids: The drivers that match a function without an override, best first.
        refusing: Drivers whose probe fails.
        shown: All that was written, as ``file name: text``, in order.
    """

    def __init__(self, root: Path) -> None:
        self.sysfs = root / "sys"
        self.proc = root / "proc"
        self.ids: dict[str, list[str]] = {}
        self.refusing: set[str] = set()
        self.shown: list[str] = []
        self.devices = self.sysfs / "bus/pci/devices"
        for folder in ("class/net", "class/block", "bus/pci/drivers", "module"):
            (self.sysfs / folder).mkdir(parents=True)
        self.devices.mkdir(parents=True)
        (self.proc / "net").mkdir(parents=True)
        (self.proc / "self").mkdir()
        (self.proc / "net/route").write_bytes(b"Iface Destination ...\n")
        (self.proc / "sys/kernel/random").mkdir(parents=True)
        (self.proc / "sys/kernel/random/boot_id").write_bytes(b"the-first-boot\n")

    def function(
        self,
        bdf: str,
        driver: str | None = None,
        *,
        ids: tuple[int, int] = (0x8086, 0x10CA),
        group: str | None = "12",
        kind: int = 0x020000,
        override: str = "",
    ) -> Path:
        folder = self.sysfs / "devices/pci0000:00" / bdf
        folder.mkdir(parents=True)
        (self.devices / bdf).symlink_to(folder)
        vendor, device = ids
        self._put(folder / "vendor", f"{vendor:#06x}")
        self._put(folder / "device", f"{device:#06x}")
        self._put(folder / "class", f"{kind:#08x}")
        self._put(folder / "modalias", f"pci:v{vendor:08X}d{device:08X}sv0sd0bc02sc00i00")
        self._put(folder / "driver_override", override or "(null)")
        if group is not None:
            members = self.sysfs / "kernel/iommu_groups" / group / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / bdf).symlink_to(folder)
            (folder / "iommu_group").symlink_to(members.parent)
        if driver:
            self.driver(driver)
            self._bind(folder, driver)
        return folder

    def driver(self, name: str, module: str | None = None) -> None:
        """Have the kernel know a driver, as if its module had been loaded."""
        folder = self.sysfs / "bus/pci/drivers" / name
        folder.mkdir(exist_ok=True)
        if module:
            self.module(module)
            (folder / "module").symlink_to(self.sysfs / "module" / module)
            drivers = self.sysfs / "module" / module / "drivers"
            drivers.mkdir()
            (drivers / f"pci:{name}").symlink_to(folder)

    def module(self, name: str, users: int = 0, srcversion: str = "") -> None:
        folder = self.sysfs / "module" / name
        folder.mkdir(exist_ok=True)
        self._put(folder / "refcnt", str(users))
        self._put(folder / "initstate", "live")
        if srcversion:
            self._put(folder / "srcversion", srcversion)

    def unload(self, name: str) -> None:
        """Do what the kernel does when a module goes: its drivers let go of their functions."""
        folder = self.sysfs / "module" / name
        for link in (folder / "drivers").glob("pci:*"):
            driver = link.resolve()
            for function in self.devices.iterdir():
                if (function / "driver").exists() and (function / "driver").resolve() == driver:
                    self._bind(function.resolve(), None)
            (driver / "module").unlink()
            driver.rmdir()
        _remove(folder)

    def interface(self, bdf: str, name: str, *, up: bool = True, routed: bool = False) -> None:
        folder = self.devices / bdf / "net" / name
        folder.mkdir(parents=True)
        self._put(folder / "flags", "0x1003" if up else "0x1002")
        (self.sysfs / "class/net" / name).symlink_to(folder.resolve())
        if routed:
            with (self.proc / "net/route").open("a") as file:
                file.write(f"{name} 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n")

    def disk(self, bdf: str, name: str, *, mounted: str = "", number: str = "8:0") -> None:
        folder = self.devices / bdf / "host0/block" / name
        folder.mkdir(parents=True)
        self._put(folder / "dev", number)
        (self.sysfs / "class/block" / name).symlink_to(folder.resolve())
        if mounted:
            with (self.proc / "self/mountinfo").open("a") as file:
                file.write(f"22 1 {number} / {mounted} rw - ext4 /dev/{name} rw\n")

    def process(self, pid: int, command: str, *files: str, environ: str = "") -> Path:
        folder = self.proc / str(pid)
        (folder / "fd").mkdir(parents=True)
        self._put(folder / "comm", command)
        self._put(folder / "environ", environ)
        for number, file in enumerate(files):
            (folder / "fd" / str(number)).symlink_to(file)
        return folder

    def bound(self, bdf: str) -> str | None:
        link = self.devices / bdf / "driver"
        return link.resolve().name if link.exists() else None

    def override(self, bdf: str) -> str:
        text = (self.devices / bdf / "driver_override").read_text().strip()
        return "" if text == "(null)" else text

    def write_text(self, path: Path, text: str) -> int:
        """Answer what would be a write to sysfs."""
        self.shown.append(f"{path.name}: {text.strip()}")
        match path.name:
            case "unbind":
                self._bind((self.devices / text).resolve(), None)
            case "driver_override":
                self._put(path, text.strip() or "(null)")
            case "drivers_probe":
                self._probe(text, self._matching(text))
            case "bind":
                wanted = path.parent.name
                if wanted not in self._matching(text):
                    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(path))
                self._probe(text, [wanted])
            case _:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return len(text)

    def answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this kernel answer what is written below its sysfs."""
        real = Path.write_text

        def write_text(path: Path, text: str, encoding: str | None = None) -> int:
            if self.sysfs in path.parents:
                return self.write_text(path, text)
            return real(path, text, encoding)

        monkeypatch.setattr(Path, "write_text", write_text)

    def _matching(self, bdf: str) -> list[str]:
        if override := self.override(bdf):
            return [override]
        return self.ids.get(bdf, [])

    def _probe(self, bdf: str, drivers: list[str]) -> None:
        for name in drivers:
            known = (self.sysfs / "bus/pci/drivers" / name).is_dir()
            if known and name not in self.refusing and self.bound(bdf) is None:
                self._bind((self.devices / bdf).resolve(), name)

    def _bind(self, folder: Path, name: str | None) -> None:
        (folder / "driver").unlink(missing_ok=True)
        own = folder / "vfio-dev"
        if own.is_dir():
            _remove(own)
        if name:
            (folder / "driver").symlink_to(self.sysfs / "bus/pci/drivers" / name)
        if name in VFIO_DRIVERS:
            (own / "vfio0").mkdir(parents=True)

    @staticmethod
    def _put(path: Path, text: str) -> None:
        path.write_bytes(f"{text}\n".encode())


def _remove(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _remove(entry)
        else:
            entry.unlink()
    folder.rmdir()
