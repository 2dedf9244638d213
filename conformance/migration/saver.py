# SPDX-License-Identifier: GPL-2.0-only
"""What the saving layout needs of a protocol: to go where mappings count, and back.

Each version of the protocol has a saver of its own: version 1 writes ``device_state``, version 2
sets MIG_DEVICE_STATE and closes the ``data_fd``. Who tests mappings knows neither.
"""

from abc import ABC, abstractmethod
from enum import Enum
from typing import Self

from conformance.migration.stream import Stream
from conformance.vfio.device import Device


class Stage(Enum):
    """A state that both versions of the protocol have, under names of their own."""

    STOPPED = "stopped"
    RUNNING = "running"
    STOP_COPY = "stop-copy"
    PRE_COPY = "pre-copy"
    RESUMING = "resuming"

    @property
    def saving(self) -> bool:
        """Whether mappings outside the saving areas are refused here."""
        return self in {Stage.STOP_COPY, Stage.PRE_COPY}


class Saver(ABC):
    """Brings a device from stage to stage. Raises :class:`OSError` with the kernel's errno."""

    device: Device

    @abstractmethod
    def offers(self, stage: Stage) -> bool:
        """Return whether the device has this stage; pre-copy is optional in version 2."""

    @abstractmethod
    def words(self, stage: Stage) -> str:
        """Say how the stage is asked for, as ``write 3 (_RUNNING|_SAVING)``."""

    @abstractmethod
    def enter(self, stage: Stage) -> None:
        """Ask for a stage, once."""

    @property
    @abstractmethod
    def stage(self) -> Stage | None:
        """Where the device says that it is; None in the error state."""

    @abstractmethod
    def probe(self) -> object:
        """Return everything that can be asked without a side effect, to be compared later."""

    @abstractmethod
    def read_all(self) -> Stream:
        """Take all data of a device in stop-and-copy."""

    @abstractmethod
    def give(self, stream: Stream) -> None:
        """Give data to a device that is resuming."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what belongs to a session."""

    @property
    def first(self) -> Stage:
        """How a save of a running device begins: in pre-copy, if the device has it."""
        return Stage.PRE_COPY if self.offers(Stage.PRE_COPY) else Stage.STOP_COPY

    def attempt(self, stage: Stage) -> int | None:
        """Ask for a stage; return the errno of the refusal, None if the device went there."""
        try:
            self.enter(stage)
        except OSError as error:
            return error.errno
        return None

    def save(self) -> Stream:
        """Save a running device in stop-and-copy and let it run again."""
        self.enter(Stage.STOP_COPY)
        stream = self.read_all()
        self.enter(Stage.RUNNING)
        return stream

    def resume(self, stream: Stream) -> None:
        """Load a stream into a running device, which then runs from there."""
        self.enter(Stage.RESUMING)
        self.give(stream)
        self.enter(Stage.RUNNING)

    def reach(self, stage: Stage) -> Self:
        """Bring a running device to a stage, with what belongs to it.

        In resuming a whole stream of its own has been given, so that it can be left.
        """
        stream = self.save() if stage is Stage.RESUMING else []
        if stage is not Stage.RUNNING:
            self.enter(stage)
        if stage is Stage.RESUMING:
            self.give(stream)
        return self
