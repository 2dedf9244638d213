# SPDX-License-Identifier: GPL-2.0-only
"""Signs of life: whether a device works or stands, not what it says of itself.

What shows it: registers that move by themselves; doorbells, for which the device writes memory;
registers that another one moves; interrupts; bits that set a part of the device going and read as
set while it runs. The suite finds the first by looking; the operator names the others.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from conformance.plugin.checks import expect_equal, expect_true
from conformance.plugin.declared import Doorbell, Kick, Scratch, Trigger
from conformance.plugin.devices import Devices
from conformance.suite.support.registers import Register, moving_registers, words_of
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, GuestMemory
from conformance.vfio.pci import config
from conformance.vfio.pci.config import Config
from conformance.vfio.pci.interrupts import Vectors
from conformance.vfio.system import sysfs

SOON: Final = 2.0
"""Seconds in which a device that works shows it."""

LOOKS: Final = 200
"""Times to look at least: where the processors are busy, little work is done in `SOON`."""

WHILE: Final = 0.03
"""Seconds in which a device that does not stand would show it."""

_LOOK: Final = 0.03
Movements = dict[str, tuple[Register, ...]]
"""The registers of functions, by address, that were seen to move by themselves."""

_NO_SIGN: Final = (
    "nothing shows whether this device works: no register moves by itself, and neither "
    "--vfio-doorbell, --vfio-kick, --vfio-trigger nor --vfio-enable is given"
)


def soon(done: Callable[[], bool]) -> bool:
    """Wait until something is so; False if that takes longer than a running device may."""
    end = time.monotonic() + SOON
    looks = 1
    while not done():
        if time.monotonic() > end and looks >= LOOKS:
            return False
        time.sleep(0.001)
        looks += 1
    return True


@dataclass
class Life:
    """The signs of one device, which runs when this is made. Use :func:`signs_of_life`."""

    device: Device
    devices: Devices
    moving: tuple[Register, ...]
    doorbells: list[Doorbell]
    kicks: list[Kick]
    enables: list[Scratch]
    triggers: list[Trigger]
    memory: GuestMemory | None = None
    vectors: Vectors | None = None
    _count: int = 0

    @property
    def lacking(self) -> str:
        """Why nothing can be judged; empty if something can."""
        signs = [self.moving, self.doorbells, self.kicks, self.enables, self.triggers]
        return "" if any(signs) else _NO_SIGN

    def arm(self) -> None:
        """Set the running device up as a guest's driver does, at first and after a reset."""
        if sysfs.is_pci(self.device.bdf):
            Config(self.device).set_command(on=config.MASTER | config.MEMORY)
        for place in self.enables:
            place.write(place.mask)

    def expect_works(self, did: str) -> None:
        """Demand that the device works in all that is known of it."""
        __tracebackhide__ = True
        self._expect_movement(did)
        for doorbell in self.doorbells:
            self._expect_served(doorbell, did)
        for kick in self.kicks:
            self._expect_moved(kick, did)
        for trigger in self.triggers:
            self.expect_interrupt(trigger, did)
        enabled = [place.read() for place in self.enables]
        wanted = [place.mask for place in self.enables]
        expect_equal(enabled, wanted, did=f"{did}, read the bits that set it going")

    def expect_stands(self, did: str) -> None:
        """Demand that the device stands: no register, no memory, no interrupt."""
        __tracebackhide__ = True
        self._expect_no_movement(did)
        self._expect_nothing_moved(did)
        self._expect_nothing_served(did)
        self.expect_silence(did)

    def expect_interrupt(self, trigger: Trigger, did: str) -> None:
        """Demand that an interrupt arrives when its cause is raised."""
        __tracebackhide__ = True
        assert self.vectors
        self.vectors.take_all()
        trigger.pull()
        came = self.vectors.wait(trigger.vector, SOON)
        did = f"{did}, raise interrupt {trigger.vector}"
        expect_true(came, did=did, expected=f"it arrives within {SOON:g} s", actual="it does not")

    def expect_silence(self, did: str) -> None:
        """Demand that no interrupt comes, whatever cause is raised."""
        __tracebackhide__ = True
        if not self.vectors:
            return
        self.vectors.take_all()
        for trigger in self.triggers:
            trigger.pull()
        time.sleep(WHILE)
        came = self.vectors.take_all()
        expect_equal(came, [], did=f"{did}, raise interrupts, look which of them come")

    def disable(self) -> bool:
        """Write 0 to what enables interrupts; return whether all of it then reads as 0."""
        enabling = [write for one in self.triggers for write in one.place.writes[:-1]]
        for write in enabling:
            self.device.known(write.bar).write_int(write.offset, 0)
        left = [self.device.known(write.bar).read_int(write.offset) for write in enabling]
        return bool(left) and not any(left)

    def expect_disabled(self, did: str) -> None:
        """Demand that no interrupt comes when causes are raised that are not enabled."""
        __tracebackhide__ = True
        assert self.vectors
        self.vectors.take_all()
        for trigger in self.triggers:
            last = trigger.place.writes[-1]
            self.device.known(last.bar).write_int(last.offset, last.value)
        time.sleep(WHILE)
        expect_equal(self.vectors.take_all(), [], did=f"{did}, raise what is not enabled")

    def _expect_movement(self, did: str) -> None:
        before = words_of(self.device, self.moving)
        left = set(self.moving)

        def done() -> bool:
            now = words_of(self.device, sorted(left))
            left.difference_update(name for name in now if now[name] != before[name])
            return not left

        with trace.quiet():
            soon(done)
        expect_equal(sorted(left), [], did=f"{did}, look which registers do not move any more")

    def _expect_no_movement(self, did: str) -> None:
        volatile = self.devices.settings.volatile
        # Two reads a look empty the queue of input behind a register: 16 bytes in a 16550.
        moved = moving_registers(self.device, WHILE, volatile, looks=10)
        expect_equal(moved, [], did=f"{did}, read all registers twice")

    def _expect_moved(self, kick: Kick, did: str) -> None:
        before = kick.read()
        kick.write(self._another(before))
        moved = soon(lambda: kick.read() != before)
        did = f"{did}, write {kick.offset:#x} of {kick.region.name}"
        expect_true(moved, did=did, expected=f"{kick.moves:#x} moves", actual="it does not")

    def _expect_nothing_moved(self, did: str) -> None:
        before = [kick.read() for kick in self.kicks]
        for kick, value in zip(self.kicks, before, strict=True):
            kick.write(self._another(value))
        time.sleep(WHILE if self.kicks else 0)
        now = [kick.read() for kick in self.kicks]
        expect_equal(now, before, did=f"{did}, write {[hex(kick.offset) for kick in self.kicks]}")

    def _another(self, value: int) -> int:
        """Return a small number, other than this one and than the last."""
        self._count = self._count % 61 + 1
        return self._count if self._count != value else self._count + 1

    def _expect_served(self, doorbell: Doorbell, did: str) -> None:
        memory = self.memory
        assert memory
        memory.clear()
        page = self._another(0)
        value = 0x5A000000 + self._count
        at, wanted = page * PAGE, value.to_bytes(4, "little")
        doorbell.ring(IOVA + at, value)
        served = soon(lambda: memory.page(page)[:4] == wanted)
        did = f"{did}, ring the doorbell at {doorbell.offset:#x}"
        expect_true(served, did=did, expected="the device writes memory", actual="it does not")

    def _expect_nothing_served(self, did: str) -> None:
        if not self.memory:
            return
        before = self.memory.contents()
        for doorbell in self.doorbells:
            doorbell.ring(IOVA + self._another(0) * PAGE, 0xA5)
        time.sleep(WHILE)
        same = self.memory.contents() == before
        did = f"{did}, ring all doorbells"
        expect_true(same, did=did, expected="no memory is written", actual="memory changed")


def moving(device: Device, known: Movements) -> tuple[Register, ...]:
    """Find the registers that move by themselves.

    All of a function's are looked at when it is new, and fresh from a reset; later only those that
    moved then, as long as they do.
    """
    if device.bdf not in known:
        device.reset()
        known[device.bdf] = tuple(moving_registers(device, _LOOK))
    elif not _all_move(device, known[device.bdf]):
        return tuple(moving_registers(device, _LOOK))
    return known[device.bdf]


def _all_move(device: Device, registers: Sequence[Register]) -> bool:
    before = words_of(device, registers)
    time.sleep(_LOOK if registers else 0)
    now = words_of(device, registers)
    return all(now[name] != before[name] for name in registers)


@contextmanager
def signs_of_life(device: Device, devices: Devices, known: Movements) -> Iterator[Life]:
    """Find the signs of a running device, set it up so that it shows them, reset it afterwards."""
    with ExitStack() as stack:
        with trace.quiet():
            moved = moving(device, known)
        life = Life(
            device,
            devices,
            moved,
            devices.doorbells_of(device),
            devices.kicks_of(device),
            devices.enables_of(device),
            devices.triggers_of(device),
        )
        if life.lacking:
            yield life
            return
        stack.callback(device.reset)
        if life.doorbells:
            life.memory = stack.enter_context(closing(GuestMemory(devices.container)))
        if life.triggers:
            count = 1 + max(trigger.vector for trigger in life.triggers)
            life.vectors = stack.enter_context(Vectors(device, count))
        with trace.quiet():
            # Rings of other tests that are nowhere: a queue that is enabled would be in doubt.
            for place in devices.scratch_of(device):
                place.write(0)
        life.arm()
        yield life


def expect_all_arrive(life: Life, did: str) -> None:
    """Demand that each interrupt arrives when it is raised."""
    __tracebackhide__ = True
    for trigger in life.triggers:
        life.expect_interrupt(trigger, did)


def raise_all(life: Life) -> list[int]:
    """Raise each interrupt and return the vectors."""
    for trigger in life.triggers:
        trigger.pull()
    return sorted(trigger.vector for trigger in life.triggers)


def arrived(vectors: Vectors, wanted: Sequence[int]) -> list[int]:
    """Wait for interrupts; return the vectors of which one came, wanted or not."""
    end = time.monotonic() + SOON
    came: set[int] = set()
    while not came.issuperset(wanted) and time.monotonic() < end:
        came.update(vectors.take_all())
        time.sleep(0.001)
    return sorted(came)
