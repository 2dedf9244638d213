# SPDX-License-Identifier: GPL-2.0-only
"""Saves and resumes by writes of ``device_state``."""

from typing import Final

from conformance.migration.saver import Saver, Stage
from conformance.migration.stream import Stream
from conformance.migration.v1.client import Client
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.states import PRE_COPY, RESUMING, RUNNING, STOP_COPY, STOPPED, words
from conformance.vfio.errors import ShortTransfer

_STATES: Final = {
    Stage.STOPPED: STOPPED,
    Stage.RUNNING: RUNNING,
    Stage.STOP_COPY: STOP_COPY,
    Stage.PRE_COPY: PRE_COPY,
    Stage.RESUMING: RESUMING,
}
_STAGES: Final = {state: stage for stage, state in _STATES.items()}


class RegionSaver(Saver):
    """A saver over the migration region, which has all stages."""

    def __init__(self, migration: MigrationRegion) -> None:
        self.migration = migration
        self.device = migration.device
        self._client = Client(migration)

    def offers(self, stage: Stage) -> bool:
        """Return whether the device has this stage: it must have all of them."""
        return stage in _STATES

    def words(self, stage: Stage) -> str:
        """Say which value is written."""
        return f"write {words(_STATES[stage])}"

    def enter(self, stage: Stage) -> None:
        """Write device_state."""
        self.migration.set_state(_STATES[stage])

    @property
    def stage(self) -> Stage | None:
        """What device_state reads as."""
        return _STAGES.get(self.migration.state)

    def probe(self) -> object:
        """Return the state, and what the fields of the data section answer."""
        migration = self.migration
        answers = [
            answer(migration, name) for name in ("pending_bytes", "data_offset", "data_size")
        ]
        return migration.state, tuple(answers)

    def read_all(self) -> Stream:
        """Take iterations until nothing is pending."""
        return self._client.read_all()

    def give(self, stream: Stream) -> None:
        """Give the buffers in their order."""
        self._client.write_all(stream)

    def close(self) -> None:
        """Do nothing: a session of this version has no file of its own."""


def answer(migration: MigrationRegion, name: str) -> str:
    """Read a field of the struct by name and return its value, or its errno, as words."""
    try:
        return str(getattr(migration, name))
    except ShortTransfer as short:
        return f"{short.moved} of {short.wanted} bytes"
    except OSError as error:
        return f"errno {error.errno}"
