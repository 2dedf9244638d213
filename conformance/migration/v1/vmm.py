# SPDX-License-Identifier: GPL-2.0-only
"""A device driven in the exact order of the virtual machine monitor that spoke this protocol.

Every change of state is a read of device_state, then a write of the new value computed from it.
The data section stays mapped from start to end where it can be mapped.
"""

from contextlib import ExitStack

from conformance.migration.errors import MoverUnusable, StateError
from conformance.migration.stream import Stream
from conformance.migration.v1.client import Buffer, Client, Progress
from conformance.migration.v1.movers import Mover, mover
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.states import ERROR, RESUMING_BIT, RUNNING_BIT, SAVING_BIT, words


class Vmm:
    """A source: boot, start, iterate, stop, or give_up. A destination: load.

    A machine does more than migrate meanwhile: it is paused, runs on, is reset, is snapshot. Each
    of these is a method, and a test calls them in the order in which the monitor does.


    ``how`` None maps the data section if it can be mapped and moves it in aligned accesses if
    not, as the monitor did; a name of :data:`~conformance.migration.v1.movers.MOVERS` forces one
    way. ``stream`` grows as the source is read. The errors are those of
    :class:`~conformance.migration.v1.client.Client`; after one, call :meth:`give_up` or reset.
    """

    def __init__(self, migration: MigrationRegion, *, how: str | None = None) -> None:
        self.migration = migration
        self.how = how
        self.stream: Stream = []
        self._client = Client(migration)
        self._stack = ExitStack()
        self._mover: Mover | None = None

    def change_state(self, keep: int, add: int) -> None:
        """Read the state, keep the bits of ``keep``, add those of ``add``, write the result.

        Raises :class:`StateError` if the device is in the error state, in which the monitor
        gave the device up.
        """
        now = self.migration.state
        if now == ERROR:
            raise StateError(f"device_state is {words(now)}; only a reset leaves it")
        self.migration.set_state((now & keep) | add)

    def start(self) -> None:
        """Begin to save a running device: map the data, state := state|SAVING."""
        self.stream = []
        self._map()
        try:
            self.change_state(~0, SAVING_BIT)
        except BaseException:
            self.finish()
            raise

    def boot(self) -> None:
        """Do what comes before the machine starts: a reset, then a write of 1 in state 1."""
        self.migration.device.reset()
        self.run()

    def shut_down(self) -> None:
        """Do what comes at the end of a machine: 1->0."""
        self.pause()

    def reset_machine(self) -> None:
        """Do what comes of the guest's reset: VFIO_DEVICE_RESET in whatever state."""
        self.migration.device.reset()

    def pause(self) -> None:
        """Do what comes of the machine's stop: clear _RUNNING."""
        self.change_state(~RUNNING_BIT, 0)

    def run(self) -> None:
        """Do what comes of the machine's start or continuation: all bits cleared, _RUNNING set."""
        self.change_state(0, RUNNING_BIT)

    def pause_for_snapshot(self) -> None:
        """Do what comes of the machine's stop for a snapshot: 1->2 in one write."""
        self.change_state(~RUNNING_BIT, SAVING_BIT)

    def recover(self) -> None:
        """Do what comes of a refused write: read the state, then write _RUNNING."""
        self.give_up()

    def pending(self) -> int:
        """Poll pending_bytes, which may be done any number of times."""
        return self.migration.pending_bytes

    def iterate(self, limit: int | None = None) -> Stream:
        """Take buffers while something pends, ``limit`` at most, and return their data."""
        taken: Stream = []
        progress = Progress()
        while limit is None or len(taken) < limit:
            if not (buffer := self._buffer()) or not buffer.size:
                break
            taken.append(buffer.data)
            progress.note(buffer.pending, buffer.size)
        self.stream += taken
        return taken

    def stop(self) -> Stream:
        """Stop the device and take the rest; returns the whole stream. It stays stopped."""
        self.pause()
        return self.complete()

    def complete(self) -> Stream:
        """Take the rest of a machine that is stopped; returns the whole stream.

        Write state|SAVING again, whatever the state is, loop until pending_bytes or data_size is
        0, then clear _SAVING. The device stays stopped.
        """
        self.change_state(~RUNNING_BIT, SAVING_BIT)
        self.iterate()
        self.change_state(~SAVING_BIT, 0)
        self.finish()
        return self.stream

    def save(self) -> Stream:
        """Start, take what pre-copy has, stop. Returns the whole stream."""
        self.start()
        self.iterate()
        return self.stop()

    def give_up(self) -> None:
        """Let the device run on: 3->1, 2->1 or 0->1, whatever it is in."""
        try:
            self.change_state(~(SAVING_BIT | RESUMING_BIT), RUNNING_BIT)
        finally:
            self.finish()

    def load(self, stream: Stream) -> None:
        """Resume a running device from a stream and let it run: 1->4, the chunks, 4->1."""
        self.load_start()
        try:
            for chunk in stream:
                self.load_chunk(chunk)
        finally:
            self.load_end()
        self.load_stop()

    def load_start(self) -> None:
        """Begin to resume: map the data, 1->4."""
        self._map()
        try:
            self.change_state(0, RESUMING_BIT)
        except BaseException:
            self.finish()
            raise

    def load_chunk(self, chunk: bytes) -> None:
        """Give one chunk; one that is larger than the section is cut."""
        self._client.write_chunk(chunk, self._moving())

    def load_end(self) -> None:
        """End giving data: the section is unmapped; config space and interrupts come then."""
        self.finish()

    def load_stop(self) -> None:
        """Let the device run, which a paused destination may put off for ever: 4->1."""
        self.change_state(~RESUMING_BIT, RUNNING_BIT)

    def finish(self) -> None:
        """Unmap the data section. Does nothing the second time."""
        self._stack.close()
        self._mover = None

    def _map(self) -> None:
        self.finish()
        wanted = self.how or "mmap"
        try:
            self._mover = self._stack.enter_context(mover(self.migration, wanted))
        except MoverUnusable:
            if self.how:
                raise
            self._mover = self._stack.enter_context(mover(self.migration, "aligned"))

    def _moving(self) -> Mover:
        if self._mover is None:
            raise StateError("nothing was started: call start() or load_start() first")
        return self._mover

    def _buffer(self) -> Buffer | None:
        return self._client.read_buffer(self._moving())
