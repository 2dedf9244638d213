# SPDX-License-Identifier: GPL-2.0-only
"""What scenarios have in common: guests, where they run, and what of them is compared."""

import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from conformance.vmm.inside.machine import Function, Machine
from conformance.vmm.inside.order import states_of
from conformance.vmm.inside.qmp import Lost

PATTERN: Final = 0x5EED
"""What memory is filled from; a sum of zeros would show nothing."""

_PRE_COPY: Final = 30.0


class Unexpected(Exception):
    """A scenario went another way than it must."""


def expect(what: str, actual: object, wanted: object) -> None:
    """Demand that something is as it must be.

    Raises:
        Unexpected: It is not.
    """
    if actual != wanted:
        raise Unexpected(f"{what}: expected {wanted}, got {actual}")


@dataclass(frozen=True)
class Register:
    """A register that the guest writes, and that must have moved with it."""

    bar: int
    offset: int
    mask: int


@dataclass(frozen=True)
class Doorbell:
    """A register that makes the function write its value to the address in two others."""

    bar: int
    offset: int
    address: int


@dataclass
class Bench:
    """Two functions, one guest, and as many QEMUs as a scenario needs.

    Attributes:
        functions: Their folders in sysfs: where the guest begins, and where it goes.
        ids: Vendor and device of the functions.
        registers: What the guest writes in the function.
        qemu: The program.
        firmware: Its firmware.
        state: The saved state of a guest that has booted and has no function yet.
        folder: For sockets and streams.
        doorbell: What makes the function write to memory, if it has that.
    """

    functions: tuple[Path, Path]
    ids: str
    registers: list[Register]
    qemu: Path
    firmware: Path
    state: Path
    folder: Path
    doorbell: Doorbell | None = None
    _machines: dict[str, Machine] = field(default_factory=dict)
    _made: int = 0
    _round: int = 0

    @property
    def address(self) -> str:
        """The socket that a live migration goes through, as a monitor takes it."""
        return f"unix:{self.folder / 'migration'}"

    def file(self, name: str) -> str:
        """Return how a monitor is told to write a file."""
        return f"exec:cat > {self.folder / name}"

    def guest(self, *, mapped: bool = False) -> Machine:
        """Return a guest that has the function, and has written registers and memory.

        The guest of the scenario before serves again, if it is well.
        """
        if not mapped:
            for machine in self._machines.values():
                with contextlib.suppress(Exception):
                    if machine.alive and machine.status == "running":
                        self._write(machine)
                        return machine
        self.clear()
        machine = self._start(None)
        machine.receive(f"exec:cat {self.state}")
        expect("the run state of the booted guest", machine.arrived(), "paused")
        machine.qmp.run("cont")
        machine.plug(Function(self.functions[0], mapped=mapped))
        machine.guest.ask(f"open {self.ids}")
        self._write(machine)
        return machine

    def _write(self, machine: Machine) -> None:
        """Give registers and memory values of their own, for none to be there by chance."""
        self._round += 1
        machine.guest.ask(f"fill {PATTERN + self._round:x}")
        for place, register in enumerate(self.registers):
            value = (0x9E3779B1 * (place + 16 * self._round + 1)) & register.mask
            machine.guest.ask(f"write {register.bar} {register.offset:x} {value:x}")
        found = self.fingerprint(machine)
        expect("registers that hold what was written", len(set(found)) > 2, True)

    def fingerprint(self, machine: Machine) -> list[str]:
        """Return the registers and a sum of the memory of a guest, as it sees them."""
        values = [
            int(machine.guest.ask(f"read {one.bar} {one.offset:x}"), 16) & one.mask
            for one in self.registers
        ]
        return [*(f"{value:#010x}" for value in values), machine.guest.ask("sum")]

    def went_on(self, machine: Machine, before: list[str]) -> None:
        """Demand that a guest runs and has what it had."""
        expect("the run state", machine.status, "running")
        expect("registers and memory", self.fingerprint(machine), before)

    def enter_precopy(self, source: Machine, uri: str) -> None:
        """Begin a migration that stays in pre-copy, and wait until the function is there."""
        source.send_slowly(uri)
        self.in_precopy(source)

    def work(self, machine: Machine) -> None:
        """Let a guest ring the doorbell all the time, and wait until it has done so."""
        bell = self.doorbell
        if bell is None:
            raise Unexpected("the function has no doorbell for the guest to ring")
        target = int(machine.guest.ask("target").split()[0], 16)
        for offset, half in ((0, target & 0xFFFFFFFF), (4, target >> 32)):
            machine.guest.ask(f"write {bell.bar} {bell.address + offset:x} {half:x}")
        machine.guest.ask(f"work {bell.bar} {bell.offset:x}")
        self._rings(machine)

    def worked(self, machine: Machine) -> None:
        """Demand that a guest still works, and that the function served each doorbell."""
        self._rings(machine)
        machine.guest.ask("rest")
        _, lost, wrong = machine.guest.ask("count").split()
        expect("doorbells that were lost", lost, "0")
        expect("doorbells that were served wrongly", wrong, "0")

    def _rings(self, machine: Machine) -> None:
        """Wait until more doorbells were rung than at first."""
        first = int(machine.guest.ask("count").split()[0])
        deadline = time.monotonic() + _PRE_COPY
        while int(machine.guest.ask("count").split()[0]) <= first + 1:
            if time.monotonic() > deadline:
                raise Unexpected(f"the guest rings no doorbell any more, after {first}")
            time.sleep(0.05)

    def in_precopy(self, machine: Machine) -> None:
        """Wait until the monitor has put the function into pre-copy."""
        deadline = time.monotonic() + _PRE_COPY
        while "PRE_COPY" not in states(machine)[-1:]:
            if time.monotonic() > deadline:
                raise Lost(f"the function was not set to PRE_COPY: {states(machine)}")
            time.sleep(0.05)

    def destination(self, source: Machine) -> Machine:
        """Start a QEMU on the function that the source does not have."""
        assert source.function
        other = next(folder for folder in self.functions if folder != source.function.folder)
        return self._start(Function(other, mapped=False))

    def listening(self, source: Machine) -> Machine:
        """Start a destination that waits for a live migration."""
        target = self.destination(source)
        target.receive(self.address)
        return target

    def through_file(self, source: Machine) -> Machine:
        """Move a guest through a file to the other function; return where it is now."""
        before = self.fingerprint(source)
        path = self.folder / "stream"
        source.send(self.file("stream"))
        expect("the migration", source.outcome()["status"], "completed")
        target = self.destination(source)
        self.drop(source)
        target.receive(f"exec:cat {path}")
        expect("the run state at the destination", target.arrived(), "running")
        path.unlink()
        self.went_on(target, before)
        return target

    def over_socket(self, source: Machine, *, check: bool = True) -> Machine:
        """Move a guest over a socket to the other function; return where it is now."""
        before = self.fingerprint(source) if check else []
        target = self.listening(source)
        source.send(self.address)
        expect("the migration", source.outcome()["status"], "completed")
        self.drop(source)
        target.arrived()
        if check:
            self.went_on(target, before)
        return target

    def from_file(self, path: Path, source: Machine) -> Machine:
        """Load a guest from a file that an earlier source has written."""
        target = self.destination(source)
        target.receive(f"exec:cat {path}")
        target.arrived()
        return target

    def drop(self, machine: Machine) -> None:
        """End a QEMU that a scenario needs no longer."""
        machine.end()
        self._machines.pop(machine.name, None)

    def clear(self) -> None:
        """End all."""
        for machine in list(self._machines.values()):
            self.drop(machine)

    def _start(self, function: Function | None) -> Machine:
        self._made += 1
        name = f"monitor-{self._made}"
        machine = Machine(name, self.folder, self.qemu, self.firmware, function)
        self._machines[name] = machine
        return machine

    def logs(self) -> list[Path]:
        """Return what the monitors wrote, in their order."""
        order = re.compile(r"monitor-(\d+)\.log")
        found = [(order.fullmatch(path.name), path) for path in self.folder.iterdir()]
        return [path for _, path in sorted((int(m[1]), p) for m, p in found if m)]


def states(machine: Machine) -> list[str]:
    """Return the states that a monitor has set, by its own trace."""
    return states_of(machine.log.read_text(errors="replace"))
