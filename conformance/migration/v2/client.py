# SPDX-License-Identifier: GPL-2.0-only
"""The single steps of saving and resuming in version 2, in any order."""

import contextlib
import errno
from typing import Final

from conformance.closing import Closing
from conformance.migration.errors import EndlessStream
from conformance.migration.stream import Stream
from conformance.migration.v2.states import State
from conformance.uapi import constants as c
from conformance.vfio import features
from conformance.vfio.data_file import DataFile
from conformance.vfio.device import Device

#: Bytes of a read; a device may give fewer.
CHUNK: Final = 1 << 16
#: No device of this kind has more state than this; a longer stream never ends.
MOST_BYTES: Final = 1 << 28


class Client(Closing):
    """Sets states and moves data; the order is the caller's affair.

    Every data_fd that the device gives stays open until :meth:`close`, or until its user closes
    it; ``file`` is the one of the session that lives. Raises :class:`OSError`.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.flags = device.migration_feature() or 0
        self.file: DataFile | None = None
        self._files: list[DataFile] = []

    def close(self) -> None:
        """Close every data_fd."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()
        self.file = None

    @property
    def state(self) -> int:
        """The state that GET returns."""
        return features.get_state(self.device)

    def set(self, state: int) -> DataFile | None:
        """Set a state; return the data_fd if there is a new one."""
        file = features.set_state(self.device, state)
        if file is not None:
            self._files.append(file)
            self.file = file
        return file

    def go(self, *states: int) -> None:
        """Set these states, one after another."""
        for state in states:
            self.set(state)

    def attempt(self, state: int) -> int | None:
        """Set a state; return the errno of the refusal, None if the device went there."""
        try:
            self.set(state)
        except OSError as error:
            return error.errno
        return None

    @property
    def session(self) -> DataFile:
        """The data_fd of the session."""
        assert self.file, "no session has begun"
        return self.file

    def read_all(self, size: int = CHUNK) -> Stream:
        """Read to the end of the stream of a device in STOP_COPY.

        Raises :class:`EndlessStream` if that does not come.
        """
        stream: Stream = []
        taken = 0
        while chunk := self.session.read(size):
            stream.append(chunk)
            taken += len(chunk)
            if taken > MOST_BYTES:
                raise EndlessStream(f"after {taken} bytes the stream has not come to its end")
        return stream

    def read_now(self, size: int = CHUNK) -> Stream:
        """Read what there is in pre-copy: until ENOMSG, or 0, or twice the initial amount."""
        stream: Stream = []
        info = self.session.precopy_info()
        most = 2 * (info.initial_bytes + info.dirty_bytes) + size
        while sum(map(len, stream)) < most:
            try:
                chunk = self.session.read(size)
            except OSError as error:
                if error.errno != errno.ENOMSG:
                    raise
                break
            if not chunk:
                break
            stream.append(chunk)
        return stream

    def write_all(self, stream: Stream) -> None:
        """Write all chunks; a short write goes on, one of no byte is EIO."""
        for chunk in stream:
            data = chunk
            while data:
                count = self.session.write(data)
                if count < 1:
                    raise OSError(errno.EIO, "a write took no byte")
                data = data[count:]

    def save(self) -> Stream:
        """Save a running device in STOP_COPY, and let it run again."""
        self.set(State.STOP_COPY)
        stream = self.read_all()
        self.set(State.RUNNING)
        return stream

    def save_live(self) -> Stream:
        """Save a running device with pre-copy, where it has that, and leave it in STOP_COPY."""
        stream: Stream = []
        if self.flags & c.VFIO_MIGRATION_PRE_COPY:
            self.set(State.PRE_COPY)
            stream += self.read_now()
        self.set(State.STOP_COPY)
        return stream + self.read_all()

    def load(self, stream: Stream, then: int = State.RUNNING) -> None:
        """Resume a device from a stream, whatever state it is in."""
        self.set(State.RESUMING)
        self.write_all(stream)
        self.set(then)
