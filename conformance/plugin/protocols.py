# SPDX-License-Identifier: GPL-2.0-only
"""Which version of the protocol a session judges, and how a device gets back to running in it.

A session judges one version. Without ``--vfio-protocol`` it is what the device offers, and the
later one of two: users of today's kernels speak that. A driver with both is judged twice.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol

import pytest
from _pytest.outcomes import Skipped

from conformance.migration.errors import NoMigrationRegion
from conformance.migration.v1 import states as v1
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v2.states import State
from conformance.vfio import features
from conformance.vfio.device import Device
from conformance.vfio.errors import ShortTransfer
from conformance.vfio.offers import Offer

VERSIONS: Final = (1, 2)
_ROOMS: Final = {"v1": 1, "v2": 2}


class NotApplicable(Skipped):
    """The device, its flags or its kernel do not have what the rule is about."""


def not_applicable(reason: str) -> NoReturn:
    """End the running test with this result, which is neither passed nor skipped."""
    raise NotApplicable(reason)


def protocol_of(item: pytest.Item) -> int:
    """Return the version that a test is about; 0 for any."""
    return _version(item.nodeid.partition("::")[0].split("/")[:-1])


def version_below(path: Path, root: Path) -> int:
    """Return the version that all tests of a file or folder are about; 0 for any."""
    return _version(path.relative_to(root).parts) if path.is_relative_to(root) else 0


def _version(folders: Sequence[str]) -> int:
    """Return the version by the names of folders: below the checkout, not above it."""
    return next((_ROOMS[name] for name in reversed(folders) if name in _ROOMS), 0)


def chosen(offer: Offer) -> int:
    """Return the version to judge of what a device offers; 1 if it offers none."""
    return 2 if offer.later is not None else 1


class Home(Protocol):
    """Returns an open device to running without a reset."""

    rule: str
    running: int

    def state(self) -> int | None:
        """Return the state, or None if it cannot be read: a test reports that better."""

    def give_up(self, state: int) -> None:
        """Set a device running that is stopped, saves or has a whole stream, if it accepts that.

        Virtual machine monitors rely on these arcs, and a reset takes a hundred times as long.
        """

    def broken(self) -> bool:
        """Whether the device takes no change of the state any more, though it shows running."""

    def words(self, state: int) -> str:
        """Name a state."""


@dataclass
class RegionHome:
    """Of a device that is judged by version 1."""

    device: Device
    migration: MigrationRegion | None = None
    rule: str = "state.default"
    running: int = v1.RUNNING

    def state(self) -> int | None:
        """Read device_state."""
        try:
            self.migration = self.migration or MigrationRegion.find(self.device)
            return self.migration.state
        except (NoMigrationRegion, OSError, ShortTransfer):
            return None

    def give_up(self, state: int) -> None:
        """Write _RUNNING, from where that may be done."""
        if self.migration and state in (v1.STOPPED, v1.STOP_COPY, v1.PRE_COPY, v1.RESUMING):
            with contextlib.suppress(OSError, ShortTransfer):
                self.migration.set_state(v1.RUNNING)

    def broken(self) -> bool:
        """Not judged: no driver is known to which that happens."""
        return False

    def words(self, state: int) -> str:
        """Name a value of device_state."""
        return v1.words(state)


@dataclass
class FeatureHome:
    """Of a device that is judged by version 2."""

    device: Device
    rule: str = "open2.running"
    running: int = State.RUNNING

    def state(self) -> int | None:
        """Get the state."""
        try:
            return features.get_state(self.device)
        except OSError:
            return None

    def give_up(self, state: int) -> None:
        """Set RUNNING, from where that may be done."""
        if state not in (State.ERROR, self.running):
            with contextlib.suppress(OSError):
                opened = features.set_state(self.device, self.running)
                if opened:
                    opened.close()

    def broken(self) -> bool:
        """Stop and start a device of which a SET was refused: xe, up to 7.3, takes none then."""
        refused, self.device.refused = self.device.refused, False
        try:
            for state in (State.STOP, self.running) if refused else ():
                features.set_state(self.device, state)
        except OSError:
            return True
        return False

    def words(self, state: int) -> str:
        """Name a state."""
        return features.state_name(state)


def home_of(device: Device, protocol: int) -> Home:
    """Return the home of a device in a version of the protocol."""
    return FeatureHome(device) if protocol == 2 else RegionHome(device)
