# SPDX-License-Identifier: GPL-2.0-only
"""What stays open over a session: container, devices, seed; and how they become known again."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import pytest

from conformance.migration.errors import NoMigrationRegion
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.states import PRE_COPY, RESUMING, RUNNING, STOP_COPY, STOPPED, words
from conformance.plugin.checks import RequirementFailed, fail
from conformance.vfio import mapping, offers, trace
from conformance.vfio.children import children
from conformance.vfio.container import Container
from conformance.vfio.device import Device
from conformance.vfio.errors import ShortTransfer, VfioError
from conformance.vfio.maps import close_leaked, unmap_leaked
from conformance.vfio.offers import Offer
from conformance.vfio.region import Region


class Observe(Protocol):
    """Records which outcome of a FREE rule the device showed."""

    def __call__(self, rule: str, outcome: str) -> None:
        """Record; an outcome that the catalogue does not list is a failed requirement."""


@dataclass(frozen=True)
class Place:
    """Some bits of a 4-byte register of a BAR, of which an operator has given his word."""

    bar: int
    offset: int
    mask: int

    def __str__(self) -> str:
        return f"{self.bar}:{self.offset:#x}:{self.mask:#x}"


@dataclass(frozen=True)
class DoorbellPlace:
    """An operator's word where a doorbell is, and where the registers of its address are.

    An address goes into the two 4-byte registers at ``address``, low half first. Then a write of
    a value other than 0 to ``offset`` makes a running device write there.
    """

    bar: int
    offset: int
    address: int


@dataclass(frozen=True)
class Doorbell:
    """Such a doorbell of an open device."""

    region: Region
    offset: int
    address: int

    def ring(self, iova: int, value: int = 1) -> None:
        """Make the device write at an address of its own."""
        self.region.write_int(self.address, iova & 0xFFFFFFFF)
        self.region.write_int(self.address + 4, iova >> 32)
        self.region.write_int(self.offset, value)


@dataclass(frozen=True)
class Scratch:
    """Such a register of an open device."""

    region: Region
    offset: int
    mask: int

    def read(self) -> int:
        """Return the free bits of the register, the others as 0."""
        return self.region.read_int(self.offset) & self.mask

    def write(self, value: int) -> None:
        """Write the free bits; the others keep their values."""
        kept = self.region.read_int(self.offset) & ~self.mask
        self.region.write_int(self.offset, kept | (value & self.mask))


@dataclass(frozen=True)
class Settings:
    """What the operator said on the command line.

    ``scratch`` may be written freely; ``volatile`` changes by itself, as clocks and counters do;
    ``doorbells`` make the device write to memory; the driver must see writes of ``trapped``
    while the device is saved;
    ``as_is`` if nothing must be bound to another driver, not even for a test.
    """

    device: str
    peer: str | None = None
    scratch: tuple[Place, ...] = ()
    seed: int = 0
    beside: tuple[tuple[str, str], ...] = ()
    volatile: tuple[Place, ...] = ()
    doorbells: tuple[DoorbellPlace, ...] = ()
    as_is: bool = False
    trapped: tuple[Place, ...] = ()


@dataclass
class _Slot:
    """One of the devices, and whether its state is still known."""

    device: Device
    dirty: bool = True
    migration: MigrationRegion | None = None


@dataclass
class Bench:
    """The devices of a session. Opened when first asked for, closed at the end.

    ``outcomes`` tells for a FREE rule which outcomes the catalogue lists.
    """

    settings: Settings
    outcomes: Callable[[str], tuple[str, ...]]
    open_container: Callable[[], Container] = Container
    open_device: Callable[..., Device] = Device.open
    unusable: str = ""
    _container: Container | None = None
    _slots: dict[str, _Slot] = field(default_factory=dict)
    _mapped: int = 0

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.settings.seed

    @property
    def has_peer(self) -> bool:
        """Whether there is a second function."""
        return self.settings.peer is not None

    @property
    def container(self) -> Container:
        """The container, opened on first use."""
        if self._container is None:
            self._container = self.open_container()
        return self._container

    def ready(self, role: str) -> Device:
        """Return the ``device`` or the ``peer``, open and in _RUNNING.

        A migration is given up, then a reset is tried, then a new open. If nothing gives
        _RUNNING the test fails for ``state.default``, and later ones are skipped with that reason.
        """
        if self.unusable:
            pytest.skip(self.unusable)
        try:
            with trace.quiet():
                return self._ready(role)
        except RequirementFailed as failure:
            self.unusable = f"the {role} cannot be brought to _RUNNING: {failure.actual}"
            raise
        except (OSError, VfioError) as error:
            self.unusable = f"the {role} cannot be opened: {error}"
            raise

    def offer(self) -> Offer:
        """Ask the device what of migration it offers, and close it again.

        Raises :class:`OSError` and :class:`~conformance.vfio.errors.VfioError`.
        """
        try:
            with trace.quiet():
                return offers.look(self._open("device"))
        finally:
            self.close()

    def migration_of(self, device: Device) -> MigrationRegion:
        """Return the device's migration region; fails ``region.type`` if there is none."""
        slot = next(slot for slot in self._slots.values() if slot.device is device)
        try:
            slot.migration = slot.migration or MigrationRegion.find(device)
        except NoMigrationRegion as error:
            fail(
                "region.type",
                did="look for the migration region",
                expected="one region of type 3, subtype 1",
                actual=str(error),
            )
        return slot.migration

    def scratch_of(self, device: Device) -> list[Scratch]:
        """Return the registers of a device that may be written."""
        return [
            Scratch(device.region(place.bar), place.offset, place.mask)
            for place in self.settings.scratch
        ]

    def doorbells_of(self, device: Device) -> list[Doorbell]:
        """Return the doorbells of a device that are known."""
        return [
            Doorbell(device.region(place.bar), place.offset, place.address)
            for place in self.settings.doorbells
        ]

    def after_test(self, *, failed: bool) -> None:
        """Take away what a test left behind; what it touched is opened anew if it failed."""
        leaked = children.kill_leftovers()
        if self._mapped != mapping.count():
            leaked += unmap_leaked()
            self._mapped = mapping.count()
        known = {slot.device.fd for slot in self._slots.values()}
        leaked += close_leaked(known) if failed else 0
        for slot in self._slots.values():
            slot.dirty = slot.dirty or failed or leaked > 0

    def observer(self, node: pytest.Item) -> "Observe":
        """Return the function which records outcomes of FREE rules for a test."""

        def observe(rule: str, outcome: str) -> None:
            allowed = self.outcomes(rule)
            if outcome not in allowed:
                listed = " or ".join(allowed) or "no outcome: the rule is not FREE"
                fail(rule, did="observe what the device does", expected=listed, actual=outcome)
            node.stash.setdefault(OBSERVED, {})[rule] = outcome

        return observe

    def close(self) -> None:
        """Close everything. Does nothing the second time."""
        for slot in self._slots.values():
            slot.device.close()
            slot.device.group.close()
        self._slots.clear()
        if self._container:
            self._container.close()
            self._container = None

    def _ready(self, role: str) -> Device:
        slot = self._slots.get(role)
        if slot is None:
            self._open(role)
            slot = self._slots[role]
        elif slot.dirty or slot.device.fd < 0:
            slot.device.reopen()
        if self._give_up(slot) not in (RUNNING, None):
            slot.device.reset()
            if self._state(slot) != RUNNING:
                slot.device.reopen()
                state = self._state(slot)
                if state not in (RUNNING, None):
                    fail(
                        "state.default",
                        did="open the device",
                        expected=words(RUNNING),
                        actual=words(state),
                    )
        slot.dirty = False
        return slot.device

    def _open(self, role: str) -> Device:
        bdf = self.settings.device if role == "device" else self.settings.peer
        prefix = "" if role == "device" else f"{role}: "
        device = self.open_device(bdf, self.container, prefix=prefix)
        self._slots[role] = _Slot(device)
        return device

    def _give_up(self, slot: _Slot) -> int | None:
        """Let a device which is stopped, saves, or was given a whole stream run on.

        Virtual machine monitors rely on these arcs, and a reset takes a hundred times as long.
        Returns the state that comes of it.
        """
        state = self._state(slot)
        if slot.migration is None or state not in (STOPPED, STOP_COPY, PRE_COPY, RESUMING):
            return state
        with suppress(OSError, ShortTransfer):
            slot.migration.set_state(RUNNING)
        return self._state(slot)

    def _state(self, slot: _Slot) -> int | None:
        """Return the state, or None where it cannot be read: the tests will say so better."""
        try:
            slot.migration = slot.migration or MigrationRegion.find(slot.device)
            return slot.migration.state
        except (NoMigrationRegion, OSError, ShortTransfer):
            slot.dirty = True
            return None


#: Outcomes of FREE rules which a test has seen, in the item's stash.
OBSERVED: Final = pytest.StashKey[dict[str, str]]()
#: The bench of a session, in the configuration's stash.
BENCH: Final = pytest.StashKey[Bench]()


def bench_of(config: pytest.Config) -> Bench:
    """Return the bench of the session. The plugin made it."""
    return config.stash[BENCH]


def new_seed() -> int:
    """Return a seed for a session which was not given one."""
    return random.SystemRandom().randrange(1 << 32)
