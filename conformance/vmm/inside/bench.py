# SPDX-License-Identifier: GPL-2.0-only
"""What scenarios have in common: guests, where they run, and what of them is compared."""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from conformance.vmm.inside.driver import Driver
from conformance.vmm.inside.exchange import Exchange
from conformance.vmm.inside.machine import Function, Machine
from conformance.vmm.inside.order import states_of
from conformance.vmm.inside.packets import Count
from conformance.vmm.inside.qmp import Lost

PATTERN: Final = 0x5EED
"""What memory is filled from; a sum of zeros would show nothing."""

ADDRESS: Final = bytes.fromhex("020000000001")
"""Of a guest that exchanges packets: locally administered."""

_PRE_COPY: Final = 120.0


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
    """Functions in pairs, one guest, and as many QEMUs as a scenario needs.

    Attributes:
        functions: Their folders in sysfs: of each pair where the guest begins, and where it goes.
        ids: Vendor and device of the functions.
        registers: What the guest writes in the function.
        qemu: The program.
        firmware: Its firmware.
        state: The saved state of a guest that has booted and has no function yet.
        folder: For sockets and streams.
        doorbell: What makes the function write to memory, if it has that.
        aware: Whether QEMU drops mappings before it saves: then it maps the registers as it does
            by default.
        protocol: Version of the migration protocol.
        driver: What drives the functions, if there is another version of it.
        packets: What became of the packets of the last guest that exchanged any, by direction.
    """

    functions: Sequence[Path]
    ids: str
    registers: list[Register]
    qemu: Path
    firmware: Path
    state: Path
    folder: Path
    doorbell: Doorbell | None = None
    aware: bool = False
    protocol: str = "v2"
    driver: Driver | None = None
    packets: dict[str, Count] = field(default_factory=dict)
    _exchange: Exchange | None = None
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

    def guest(self, *, mapped: bool | None = None, count: int = 1) -> Machine:
        """Return a guest that has one function or more, and has written registers and memory.

        The guest of the scenario before serves again, if it is well.
        """
        machine = self._guest(mapped, count)
        if self._exchange is not None:
            self._exchange.begin(machine)
        return machine

    def _guest(self, mapped: bool | None, count: int) -> Machine:
        mapped = self.aware if mapped is None else mapped
        wanted = self.functions[::2][:count]
        if len(wanted) < count:
            raise Unexpected(f"there are too few functions for a guest with {count}")
        if mapped is self.aware:
            for machine in self._machines.values():
                with contextlib.suppress(Exception):
                    fits = len(machine.functions) == count
                    if fits and machine.alive and machine.status == "running":
                        self._write(machine)
                        return machine
        self.clear()
        machine = self._start([])
        machine.receive(f"exec:cat {self.state}")
        expect("the run state of the booted guest", machine.arrived(), "paused")
        machine.qmp.run("cont")
        for slot, folder in enumerate(wanted):
            machine.plug(Function(folder, mapped=mapped, slot=slot, protocol=self.protocol))
        for slot in range(count):
            machine.guest.ask(f"use {slot}")
            machine.guest.ask(f"open {self.ids}")
        self._write(machine)
        return machine

    def _write(self, machine: Machine) -> None:
        """Give registers and memory values of their own, for none to be there by chance."""
        self._round += 1
        machine.guest.ask(f"fill {PATTERN + self._round:x}")
        for slot in range(len(machine.functions)):
            machine.guest.ask(f"use {slot}")
            for place, register in enumerate(self.registers):
                seed = place + 16 * slot + 32 * self._round + 1
                value = (0x9E3779B1 * seed) & register.mask
                machine.guest.ask(f"write {register.bar} {register.offset:x} {value:x}")
        found = self.fingerprint(machine)
        expect("registers that hold what was written", len(set(found)) > 2, True)

    def fingerprint(self, machine: Machine) -> list[str]:
        """Return the registers and a sum of the memory of a guest, as it sees them."""
        values = []
        for slot in reversed(range(len(machine.functions))):  # that in use at last is the first
            machine.guest.ask(f"use {slot}")
            values += [
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

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """Have the guest exchange packets meanwhile; in the end demand that all were well.

        Raises:
            Unexpected: Packets came twice or changed, or there is not one guest.
            Lost: They do not flow.
        """
        self.packets = {}
        exchange = self._exchange = Exchange(self.functions[:2], ADDRESS)
        try:
            yield
            expect("guests that exchange packets", len(self._machines), 1)
            machine = next(iter(self._machines.values()))
            exchange.flows(machine)
            self.packets = exchange.end(machine)
            for way, count in self.packets.items():
                expect(f"packets {way} ({count}) that came once and unchanged", count.good, True)
        finally:
            self._exchange = None
            exchange.close()

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
        expect("doorbells that were lost or served wrongly", (lost, wrong), ("0", "0"))

    def _rings(self, machine: Machine) -> None:
        """Wait until more doorbells were rung than at first."""
        first = int(machine.guest.ask("count").split()[0])
        deadline = time.monotonic() + _PRE_COPY
        while int(machine.guest.ask("count").split()[0]) <= first + 1:
            if time.monotonic() > deadline:
                raise Unexpected(f"the guest rings no doorbell any more, after {first}")
            time.sleep(0.05)

    def enter_stop_copy(self, source: Machine, uri: str) -> None:
        """Begin a migration that halts when guest and function have stopped."""
        source.send_until_stopped(uri)
        expect("the migration", source.migration, "pre-switchover")
        expect("the last state that the monitor has set", states(source)[-1:], ["STOP_COPY"])

    def in_precopy(self, machine: Machine) -> None:
        """Wait until the monitor has put the function into pre-copy."""
        deadline = time.monotonic() + _PRE_COPY
        while "PRE_COPY" not in states(machine)[-1:]:
            if time.monotonic() > deadline:
                raise Lost(f"the function was not set to PRE_COPY: {states(machine)}")
            time.sleep(0.05)

    def destination(self, source: Machine) -> Machine:
        """Start a QEMU on the functions that are the peers of the source's."""
        places = {folder: place for place, folder in enumerate(self.functions)}
        peers = [self.functions[places[one.folder] ^ 1] for one in source.functions]
        return self._start(
            [
                Function(folder, mapped=one.mapped, slot=one.slot, protocol=one.protocol)
                for folder, one in zip(peers, source.functions, strict=True)
            ]
        )

    def listening(self, source: Machine) -> Machine:
        """Start a destination that waits for a live migration."""
        target = self.destination(source)
        target.receive(self.address)
        return target

    def through_file(self, source: Machine) -> Machine:
        """Move a guest through a file to the other function; return where it is now."""
        before = self.fingerprint(source)
        self.save(source, "stream")
        self.drop(source)
        target = self.from_file("stream", source)
        (self.folder / "stream").unlink()
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

    def save(self, source: Machine, name: str) -> None:
        """Write a guest to a file."""
        source.send(self.file(name))
        expect("the migration", source.outcome()["status"], "completed")

    def from_file(self, name: str, source: Machine) -> Machine:
        """Load a guest from a file that an earlier source has written."""
        target = self.destination(source)
        target.receive(f"exec:cat {self.folder / name}")
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

    def _start(self, functions: Sequence[Function]) -> Machine:
        self._made += 1
        name = f"monitor-{self._made}"
        machine = Machine(name, self.folder, self.qemu, self.firmware, functions)
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


def mappings(machine: Machine) -> list[str]:
    """Return what a monitor did to mappings of registers, in order: mmap or unmap."""
    text = machine.log.read_text(errors="replace")
    return re.findall(r"^vfio_region_(mmap|unmap) ", text, re.MULTILINE)
