# SPDX-License-Identifier: GPL-2.0-only
"""Devices of a test session: opened once, back in _RUNNING before each test."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import pytest

from conformance.migration.errors import NoMigrationRegion
from conformance.migration.v1.region import MigrationRegion
from conformance.plugin.checks import RequirementFailed, fail
from conformance.plugin.declared import Busy, Doorbell, Kick, Scratch, Settings, Trigger
from conformance.plugin.protocols import Home, home_of
from conformance.vfio import offers, trace
from conformance.vfio.children import children
from conformance.vfio.device import Device
from conformance.vfio.errors import VfioError
from conformance.vfio.iommu.container import Container
from conformance.vfio.memory import mapping
from conformance.vfio.memory.maps import close_leaked, unmap_leaked
from conformance.vfio.offers import Offer


class Observe(Protocol):
    """Records which outcome of a FREE rule the device showed."""

    def __call__(self, rule: str, outcome: str) -> None:
        """Record; an outcome that the catalogue does not list is a failed requirement."""


@dataclass
class _Slot:
    """An open device; ``dirty`` if its state is unknown, ``failed`` after a test that failed."""

    device: Device
    home: Home
    dirty: bool = True
    failed: bool = False
    migration: MigrationRegion | None = None


@dataclass
class Devices:
    """The devices of a session. Opened when first asked for, closed at the end.

    ``outcomes`` returns the outcomes that the catalogue lists for a FREE rule; ``protocol`` is the
    version that the session judges.
    """

    settings: Settings
    outcomes: Callable[[str], tuple[str, ...]]
    open_container: Callable[[], Container] = Container
    open_device: Callable[..., Device] = Device.open
    unusable: str = ""
    protocol: int = 1
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
        _RUNNING the test fails for the rule of that, and later ones are skipped with that reason.
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
        """Query what migration support the device offers, and close it again.

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
        """Return the scratch registers of a device."""
        return [
            Scratch(device.known(place.bar), place.offset, place.mask)
            for place in self.settings.scratch
        ]

    def doorbells_of(self, device: Device) -> list[Doorbell]:
        """Return the declared doorbells of a device."""
        return [
            Doorbell(device.known(place.bar), place.offset, place.address)
            for place in self.settings.doorbells
        ]

    def enables_of(self, device: Device) -> list[Scratch]:
        """Return the declared enable bits of a device."""
        return [
            Scratch(device.known(place.bar), place.offset, place.mask)
            for place in self.settings.enables
        ]

    def kicks_of(self, device: Device) -> list[Kick]:
        """Return the declared pairs of registers of a device."""
        return [
            Kick(device.known(place.bar), place.offset, place.moves)
            for place in self.settings.kicks
        ]

    def triggers_of(self, device: Device) -> list[Trigger]:
        """Return the declared triggers of a device."""
        return [Trigger(device, place) for place in self.settings.triggers]

    def busies_of(self, device: Device) -> list[Busy]:
        """Return the declared writes that keep a device busy."""
        return [Busy(device, place) for place in self.settings.busies]

    def after_test(self, *, failed: bool) -> None:
        """Remove what a test left behind; after a failure the devices are opened again."""
        leaked = children.kill_leftovers()
        if self._mapped != mapping.count():
            leaked += unmap_leaked()
            self._mapped = mapping.count()
        known = {slot.device.fd for slot in self._slots.values()}
        leaked += close_leaked(known) if failed else 0
        for slot in self._slots.values():
            slot.dirty = slot.dirty or failed or leaked > 0
            slot.failed = slot.failed or failed

    def observer(self, node: pytest.Item) -> "Observe":
        """Return the function that records outcomes of FREE rules for a test."""

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
        fresh = slot is None or slot.dirty or slot.device.fd < 0
        if slot is None:
            self._open(role)
            slot = self._slots[role]
        elif fresh:
            slot.device.reopen()
        if slot.failed:
            # What a failed test broke, and GET does not show, must not fail the tests after it.
            with contextlib.suppress(OSError):
                slot.device.reset()
            slot.failed = False
        home = slot.home
        # A driver that keeps the state over a close may have lost what belongs to it (mtty, up to
        # 7.3, dies of an arc then), so what a new open finds is left by a reset only.
        state = self._state(slot) if fresh else self._give_up(slot)
        if state == home.running and home.broken():
            slot.device.reset()
        if state not in (home.running, None):
            slot.device.reset()
            if self._state(slot) != home.running:
                slot.device.reopen()
                state = self._state(slot)
                if state not in (home.running, None):
                    fail(
                        home.rule,
                        did="open the device",
                        expected=home.words(home.running),
                        actual=home.words(state),
                    )
        slot.dirty = False
        return slot.device

    def _open(self, role: str) -> Device:
        bdf = self.settings.device if role == "device" else self.settings.peer
        prefix = "" if role == "device" else f"{role}: "
        device = self.open_device(bdf, self.container, prefix=prefix)
        self._slots[role] = _Slot(device, home_of(device, self.protocol))
        return device

    def _give_up(self, slot: _Slot) -> int | None:
        """Let a device run on that was left elsewhere; return the state that comes of it."""
        state = self._state(slot)
        if state in (None, slot.home.running):
            return state
        slot.home.give_up(state)
        return self._state(slot)

    def _state(self, slot: _Slot) -> int | None:
        """Return the state, or None if it cannot be read: a test reports that better."""
        state = slot.home.state()
        slot.dirty = slot.dirty or state is None
        return state


#: Outcomes of FREE rules that a test has seen, in the item's stash.
OBSERVED: Final = pytest.StashKey[dict[str, str]]()
#: The devices of a session, in the configuration's stash.
DEVICES: Final = pytest.StashKey[Devices]()


def devices_of(config: pytest.Config) -> Devices:
    """Return the devices of the session. The plugin made it."""
    return config.stash[DEVICES]
