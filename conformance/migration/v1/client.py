# SPDX-License-Identifier: GPL-2.0-only
"""The single steps of saving and resuming, in the order the protocol gives them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from conformance.migration.errors import EndlessStream, WindowError
from conformance.migration.stream import Stream
from conformance.migration.v1.movers import Mover, mover
from conformance.migration.v1.region import STRUCT_SIZE, MigrationRegion
from conformance.migration.v1.states import PRE_COPY, RESUMING, RUNNING, STOP_COPY, STOPPED

#: No device of this kind has more state than this; a longer stream never ends.
MOST_BYTES: Final = 1 << 28
#: So many iterations in which pending_bytes was never less than before: a stream without end.
MOST_STALLED: Final = 1 << 12


class Progress:
    """Watches pending_bytes over the iterations of a save, for a device that never ends."""

    def __init__(self) -> None:
        self._least: int | None = None
        self._stalled = 0
        self._taken = 0

    def note(self, pending: int, size: int) -> None:
        """Count an iteration; raises :class:`EndlessStream`."""
        self._taken += size
        if self._least is None or pending < self._least:
            self._least, self._stalled = pending, 0
        self._stalled += 1
        if self._stalled > MOST_STALLED or self._taken > MOST_BYTES:
            raise EndlessStream(
                f"after {self._taken} bytes pending_bytes is not 0, and for {self._stalled} "
                f"iterations it was not less than {self._least}"
            )


@dataclass(frozen=True)
class Buffer:
    """One iteration of saving: what was pending before, where the data is, and the data."""

    pending: int
    offset: int
    size: int
    data: bytes


class Client:
    """Takes single steps with a device; the states are the caller's affair.

    ``how`` is one of :data:`~conformance.migration.v1.movers.MOVERS`. Errors are
    :class:`OSError`, :class:`~conformance.vfio.errors.ShortTransfer` and the
    :class:`~conformance.migration.errors.MigrationError` family.
    """

    def __init__(self, migration: MigrationRegion, *, how: str = "bulk") -> None:
        self.migration = migration
        self.how = how

    @contextmanager
    def moving(self) -> Iterator[Mover]:
        """Provide the mover for a block."""
        with mover(self.migration, self.how) as made:
            yield made

    def read_window(self) -> tuple[int, int]:
        """Read data_offset, then data_size; raises :class:`WindowError` if they cannot be."""
        offset, size = self.migration.data_offset, self.migration.data_size
        if offset < STRUCT_SIZE or offset + size > self.migration.size:
            raise WindowError(
                f"data_offset {offset:#x} and data_size {size:#x} do not lie between the struct "
                f"({STRUCT_SIZE:#x}) and the end of the region ({self.migration.size:#x})"
            )
        return offset, size

    def read_buffer(self, move: Mover) -> Buffer | None:
        """Take one iteration: pending_bytes, data_offset, data_size, data. None if none pends."""
        pending = self.migration.pending_bytes
        if not pending:
            return None
        offset, size = self.read_window()
        return Buffer(pending, offset, size, move.read(offset, size))

    def read_all(self) -> Stream:
        """Take iterations until pending_bytes, or a data_size, is 0.

        Raises :class:`EndlessStream` if that does not happen.
        """
        stream: Stream = []
        progress = Progress()
        with self.moving() as move:
            while buffer := self.read_buffer(move):
                if not buffer.size:
                    break
                stream.append(buffer.data)
                progress.note(buffer.pending, buffer.size)
        return stream

    def room(self) -> tuple[int, int]:
        """Return data_offset and how many bytes fit behind it: the section for resuming.

        Raises :class:`WindowError` if data_offset is not inside the region.
        """
        offset = self.migration.data_offset
        if not STRUCT_SIZE <= offset < self.migration.size:
            raise WindowError(
                f"data_offset {offset:#x} does not lie between the struct ({STRUCT_SIZE:#x}) and "
                f"the end of the region ({self.migration.size:#x})"
            )
        return offset, self.migration.size - offset

    def write_chunk(self, chunk: bytes, move: Mover) -> None:
        """Give one chunk: data_offset, data, data_size; one too large for the section is cut."""
        while True:
            offset, room = self.room()
            part, chunk = chunk[:room], chunk[room:]
            move.write(offset, part)
            self.migration.set_data_size(len(part))
            if not chunk:
                return

    def write_all(self, stream: Stream) -> None:
        """Give all chunks in their order, in a device that is resuming."""
        with self.moving() as move:
            for chunk in stream:
                self.write_chunk(chunk, move)

    def save_stopped(self) -> Stream:
        """From _RUNNING: stop and save at once (1->2), then leave it stopped (2->0)."""
        self.migration.set_state(STOP_COPY)
        stream = self.read_all()
        self.migration.set_state(STOPPED)
        return stream

    def save_live(self) -> Stream:
        """From _RUNNING: all of pre-copy, then stop-and-copy, then leave it stopped."""
        self.migration.enter(PRE_COPY)
        stream = self.read_all()
        self.migration.enter(STOP_COPY)
        stream += self.read_all()
        self.migration.enter(STOPPED)
        return stream

    def resume(self, stream: Stream) -> None:
        """From _RUNNING: 1->4, all chunks, 4->1."""
        self.migration.set_state(RESUMING)
        self.write_all(stream)
        self.migration.set_state(RUNNING)
