# SPDX-License-Identifier: GPL-2.0-only
"""One QEMU with the innermost guest in it, and the migrations it is told to make."""

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from conformance.vmm.inside.qmp import Lost, Program, Qmp

FAST: Final = 1 << 33
SLOW: Final = 1 << 16
"""Bytes a second that a migration may take: all, or so few that it does not end by itself."""

_MODULES: Final = "/usr/lib/x86_64-linux-gnu/qemu"
"""Where Debian has parts of QEMU, which looks for them next to its program: TCG is one in 7.2."""

_SLOT: Final = 5
_SHORT: Final = 300
_LONG: Final = 30_000
"""Milliseconds for which the guest may stand: QEMU's own limit, and enough to send all memory."""

_PAUSE: Final = 0.05
_PATIENCE: Final = 240.0
"""Seconds that emulation within emulation may take on a busy machine."""
_ENDS: Final = ("completed", "failed", "cancelled")


def system(firmware: Path) -> list[str]:
    """Return the part of QEMU's command line that both ends of a migration must share."""
    return [
        *("-L", str(firmware), "-bios", str(firmware / "qboot.rom")),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-M", "pc,usb=off,hpet=off,vmport=off", "-cpu", "qemu64", "-m", "96M"),
        *("-accel", "tcg,thread=single,tb-size=32"),
    ]


class Function:
    """A function as QEMU is given it.

    Args:
        folder: Its folder in sysfs.
        mapped: Whether QEMU may map its registers, as it does by default.
        slot: Its number in the guest.
        protocol: Version of the migration protocol: QEMU had an experimental property for v1.
    """

    def __init__(
        self, folder: Path, *, mapped: bool = False, slot: int = 0, protocol: str = "v2"
    ) -> None:
        self.folder = folder
        self.mapped = mapped
        self.slot = slot
        self.protocol = protocol

    @property
    def pins(self) -> bool:
        """Whether the guest's memory is pinned for it, all of which then counts as dirty."""
        return (self.folder / "iommu").exists()

    def properties(self) -> dict[str, object]:
        """Return the properties of the device, as the monitor takes them."""
        return {
            "driver": "vfio-pci",
            "id": f"function{self.slot}",
            "sysfsdev": str(self.folder),
            "bus": "pci.0",
            "addr": hex(_SLOT + self.slot),
            "rombar": 0,
            # Without a say QEMU wants the device to track dirty pages; it marks all without it.
            "x-enable-migration" if self.protocol == "v1" else "enable-migration": "on",
            "x-no-mmap": not self.mapped,
            # QEMU asks which pages are dirty behind an MSI-X table in a mapped BAR, not in whole
            # pages, and the kernel refuses that: the migration fails before any driver is asked.
            **({"x-msix-relocation": "bar2"} if self.mapped else {}),
        }

    def option(self) -> str:
        """Return the same for the command line."""
        words = {True: "on", False: "off"}
        pairs = self.properties().items()
        named = [f"{key}={words.get(value, value)}" if isinstance(value, bool) else f"{key}={value}"
                 for key, value in pairs if key != "driver"]  # fmt: skip
        return ",".join(["vfio-pci", *named])


class Machine:
    """A running QEMU.

    Args:
        name: Its name, for its files.
        folder: Where these are.
        qemu: The program.
        firmware: Its firmware.
        functions: Those that it has from the start.

    Attributes:
        functions: Those that it has.
    """

    def __init__(
        self, name: str, folder: Path, qemu: Path, firmware: Path, functions: Sequence[Function]
    ) -> None:
        self.name = name
        self.functions = list(functions)
        self._halts = False
        self.log = folder / f"{name}.log"
        socket = {what: folder / f"{name}.{what}" for what in ("qmp", "port")}
        for path in socket.values():
            path.unlink(missing_ok=True)
        argv = [
            str(qemu),
            *system(firmware),
            *("-serial", f"file:{folder}/{name}.console"),
            *("-chardev", f"socket,id=port,path={socket['port']},server=on,wait=off"),
            *("-serial", "chardev:port", "-incoming", "defer"),
            *("-qmp", f"unix:{socket['qmp']},server=on,wait=off"),
            *("-trace", "vfio_migration_*", "-trace", "vfio_save_*", "-trace", "vfio_load_*"),
            *("-trace", "vfio_region_mmap", "-trace", "vfio_region_unmap"),
            *("-trace", "vfio_pci_reset"),
            # Of 10, and of 7.2: QEMU would warn of a name without a wildcard that it does not have.
            *("-trace", "vfio_*_pending_exact", "-trace", "vfio_update_pending*"),
            *(word for function in functions for word in ("-device", function.option())),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                env={**os.environ, "QEMU_MODULE_DIR": _MODULES},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.qmp = Qmp(socket["qmp"], lambda: self.alive)
            self.guest = Program(socket["port"], lambda: self.alive)
        except BaseException:
            self.kill()
            raise

    def end(self) -> None:
        """End it in order; by force where that fails."""
        with contextlib.suppress(Exception):
            self.qmp.run("quit")
            self._process.wait(10)
        self.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()
        for one in ("qmp", "guest"):
            if hasattr(self, one):
                with contextlib.suppress(OSError):
                    getattr(self, one).close()

    @property
    def alive(self) -> bool:
        """Whether QEMU still runs."""
        return self._process.poll() is None

    @property
    def status(self) -> str:
        """The run state."""
        return str(self.qmp.run("query-status")["status"])

    @property
    def migration(self) -> str:
        """How far the migration is."""
        return str(self.qmp.run("query-migrate").get("status"))

    def plug(self, function: Function) -> None:
        """Give the guest the function."""
        self.qmp.run("device_add", **function.properties())
        self.functions.append(function)

    def send(self, uri: str, bandwidth: int = FAST) -> None:
        """Begin a migration."""
        limit = _LONG if any(function.pins for function in self.functions) else _SHORT
        self.qmp.run("migrate-set-parameters", max_bandwidth=bandwidth, downtime_limit=limit)
        self.qmp.run("migrate", uri=uri)

    def send_slowly(self, uri: str) -> None:
        """Begin a migration that does not end by itself, and wait until it is under way.

        Raises:
            Lost: It did not begin.
        """
        self.send(uri, SLOW)
        self.qmp.migration(lambda status: status == "active", _PATIENCE)

    def send_until_stopped(self, uri: str) -> None:
        """Begin a migration that halts in stop-and-copy, when it has stopped the guest."""
        self._halt_when_stopped(state=True)
        self.send(uri)
        self.qmp.migration(lambda status: status in ("pre-switchover", *_ENDS), _PATIENCE)

    def go_on(self) -> None:
        """Let a migration go on that has halted."""
        self.qmp.run("migrate-continue", state="pre-switchover")

    def _halt_when_stopped(self, *, state: bool) -> None:
        self._halts = state
        named = {"capability": "pause-before-switchover", "state": state}
        self.qmp.run("migrate-set-capabilities", capabilities=[named])

    def cancel(self) -> None:
        """Give a migration up."""
        self.qmp.run("migrate_cancel")

    def outcome(self) -> dict[str, Any]:
        """Wait until the migration has ended, and return how."""
        found = self.qmp.migration(lambda status: status in _ENDS, _PATIENCE)
        if self._halts:  # the next one need not
            self._halt_when_stopped(state=False)
        return found

    def receive(self, uri: str) -> None:
        """Take a migration and begin with it."""
        self.qmp.run("migrate-incoming", uri=uri)

    def arrived(self) -> str:
        """Wait until the incoming migration has ended, and return the run state."""
        self.outcome()
        deadline = time.monotonic() + _PATIENCE
        while (found := self.status) in ("inmigrate", "finish-migrate"):
            if time.monotonic() > deadline:
                raise Lost("the guest does not start after its migration")
            time.sleep(_PAUSE)
        return found

    def ended(self) -> bool:
        """Wait until QEMU has ended by itself; tell whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        return not self.alive
