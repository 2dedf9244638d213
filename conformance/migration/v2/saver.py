# SPDX-License-Identifier: GPL-2.0-only
"""Saves and resumes by MIG_DEVICE_STATE and the data_fd."""

import contextlib
from typing import Final

from conformance.migration.saver import Saver, Stage
from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.migration.v2.states import State
from conformance.uapi import constants as c
from conformance.vfio import features
from conformance.vfio.device import Device

_STATES: Final = {
    Stage.STOPPED: State.STOP,
    Stage.RUNNING: State.RUNNING,
    Stage.STOP_COPY: State.STOP_COPY,
    Stage.PRE_COPY: State.PRE_COPY,
    Stage.RESUMING: State.RESUMING,
}
_STAGES: Final = {int(state): stage for stage, state in _STATES.items()}


class FeatureSaver(Saver):
    """A saver by the feature ioctl; it closes the data_fd of a session that has ended."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._client = Client(device)

    def offers(self, stage: Stage) -> bool:
        """Return whether the device has this stage."""
        flags = self._client.flags
        return stage is not Stage.PRE_COPY or bool(flags & c.VFIO_MIGRATION_PRE_COPY)

    def words(self, stage: Stage) -> str:
        """Say which state is set."""
        return f"SET {_STATES[stage].name}"

    def enter(self, stage: Stage) -> None:
        """Set the state, and close what the session before it has left."""
        self._client.set(_STATES[stage])
        if stage in (Stage.RUNNING, Stage.STOPPED):
            self._client.close()

    @property
    def stage(self) -> Stage | None:
        """The stage that the state is."""
        return _STAGES.get(features.get_state(self.device))

    def probe(self) -> object:
        """Return the state, and how much a save is expected to give."""
        size: object = None
        with contextlib.suppress(OSError):
            size = features.data_size(self.device)
        return features.get_state(self.device), size

    def read_all(self) -> Stream:
        """Read to the end of the stream."""
        return self._client.read_all()

    def give(self, stream: Stream) -> None:
        """Write the stream."""
        self._client.write_all(stream)

    def close(self) -> None:
        """Close every data_fd."""
        self._client.close()
