# SPDX-License-Identifier: GPL-2.0-only
"""How virtual machine monitors drive version 2: the order of calls, and what they do on errors.

:class:`Vmm` is the one with pre-copy and P2P. It never asks for the state: it goes by its own
record, names a state to recover to, and resets the device where that fails too. It leaves a load
only when the machine starts, so that a bad stream shows only then; it closes the data_fd before
or, as later releases do of a machine that starts at once, after that. :class:`SmallVmm` is one
without pre-copy.
"""

import errno
from typing import Final

from conformance.migration.errors import StateError
from conformance.migration.stream import Stream
from conformance.migration.v2.states import State
from conformance.uapi import constants as c
from conformance.vfio import features
from conformance.vfio.data_file import DataFile
from conformance.vfio.device import Device

_MIB: Final = 1 << 20
#: So many buffers of pre-copy are read before the machine is stopped, converged or not.
_BUFFERS: Final = 64


class Vmm:
    """A monitor's migration of one device.

    Attributes:
        state: where it believes that the device is.
        sent: whether the initial bytes were read (switchover-ack).
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.flags = features.migration_flags(device)
        if not self.flags & c.VFIO_MIGRATION_STOP_COPY:
            raise StateError(f"{device.bdf} does not offer STOP_COPY")
        self.state: int = State.RUNNING
        self.sent = False
        self._file: DataFile | None = None
        self._initial = 0
        self._buffer = _MIB

    def set_state(self, new: int, recover: int) -> None:
        """Go to a state unless it is there already; on failure recover, and raise the error."""
        if self.state == new:
            return
        try:
            file = features.set_state(self.device, new)
        except OSError:
            self._recover(recover)
            raise
        self.state = new
        if file is None:
            return
        if self._file is not None:
            file.close()
            raise StateError("a new data_fd came while one was open: out of sync")
        self._file = file

    def _recover(self, state: int) -> None:
        if state != State.ERROR:
            try:
                features.set_state(self.device, state)
            except OSError:
                pass
            else:
                self.state = state
                return
        self.device.reset()
        self.state = State.RUNNING

    def setup(self) -> None:
        """Size the buffer, and begin pre-copy if the machine runs and the device has it."""
        self._buffer = min(_MIB, self._ask_size())
        if not self._buffer:
            raise StateError("MIG_DATA_SIZE is 0: there is no buffer to allocate")
        if self.flags & c.VFIO_MIGRATION_PRE_COPY and self.state == State.RUNNING:
            self.set_state(State.PRE_COPY, State.RUNNING)
            self._initial = self._open_file().precopy_info().initial_bytes

    def _ask_size(self) -> int:
        """Return how long the stream will be; a kernel before 6.2 cannot say."""
        try:
            return features.data_size(self.device)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            return _MIB

    def pending(self) -> None:
        """Ask how much there is, as before each pass over the memory of the machine."""
        self._ask_size()
        if self.state == State.PRE_COPY:
            self._open_file().precopy_info()

    def iterate(self) -> bytes:
        """Read one buffer of pre-copy; nothing now is no end."""
        try:
            data = self._open_file().read(self._buffer)
        except OSError as error:
            if error.errno != errno.ENOMSG:
                raise
            data = b""
        self._initial -= min(len(data), self._initial)
        self.sent = self.sent or not self._initial
        return data

    def stop(self) -> None:
        """Stop the machine: no new peer-to-peer DMA first, then the rest."""
        if self.flags & c.VFIO_MIGRATION_P2P:
            saving = self.state == State.PRE_COPY
            self.set_state(State.PRE_COPY_P2P if saving else State.RUNNING_P2P, State.ERROR)
        saving = self.state in (State.PRE_COPY, State.PRE_COPY_P2P)
        self.set_state(State.STOP_COPY if saving else State.STOP, State.ERROR)

    def complete(self) -> Stream:
        """Read the rest of a stopped device."""
        self.set_state(State.STOP_COPY, State.STOP)
        stream: Stream = []
        while data := self._open_file().read(self._buffer):
            stream.append(data)
        return stream

    def cleanup(self) -> None:
        """End the save: the file is closed after its session."""
        self.set_state(State.STOP, State.ERROR)
        self._close_file()

    def give_up(self) -> None:
        """Let the device run on where it was, at any time; in pre-copy the file is closed first."""
        if self.state == State.PRE_COPY:
            self._close_file()
        self.set_state(State.RUNNING, State.ERROR)
        self._close_file()

    def save(self) -> Stream:
        """Do all of a save of a running machine, which is stopped then."""
        self.setup()
        stream: Stream = []
        if self._file is not None:
            while len(stream) < _BUFFERS and (data := self.iterate()):
                stream.append(data)
                self.pending()
        self.stop()
        stream += self.complete()
        self.cleanup()
        return stream

    def load(self, stream: Stream, *, keep: bool = False) -> None:
        """Give a stream to the device of a machine that has not started.

        ``keep`` leaves the file open: :meth:`close` it when the machine has started.
        """
        self.set_state(State.RESUMING, self.state)
        for chunk in stream:
            data = chunk
            while data:
                count = self._open_file().write(data)
                if not count:
                    raise StateError("a write took no byte")
                data = data[count:]
        if not keep:
            self._close_file()

    def start(self) -> None:
        """Start the machine: what was loaded is judged here."""
        if self.flags & c.VFIO_MIGRATION_P2P:
            self.set_state(State.RUNNING_P2P, State.ERROR)
        self.set_state(State.RUNNING, State.ERROR)

    def close(self) -> None:
        """Close what is open; the device is left where it is."""
        self._close_file()

    def _open_file(self) -> DataFile:
        if self._file is None:
            raise StateError("the device has given no data_fd")
        return self._file

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class SmallVmm(Vmm):
    """A monitor that stops the machine before it saves, and knows neither P2P nor pre-copy."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.flags = c.VFIO_MIGRATION_STOP_COPY
