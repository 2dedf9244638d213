# SPDX-License-Identifier: GPL-2.0-only
"""A device of version 2 without a kernel: its data_fd are pipes, its state machine is small.

It goes by a table of arcs of its own, step by step, so that it does not share a mistake with the
oracle. Defects can be switched on by name.
"""

import errno
import fcntl
import os
import threading
import time
from typing import Any, Final

from conformance.tests.vfio.fake_device import BAR0_SIZE, FakeDevice

_GET, _SET, _PROBE = 1 << 16, 1 << 17, 1 << 18
_ROOM: Final = 1 << 20
_HEAD: Final = b"v2 state"
S, R, C, L, r = 1, 2, 3, 4, 5
#: Where the next step goes, by where the device is and where it is to go.
_NEXT: Final = {
    R: {r: r, S: r, C: r, L: r},
    r: {R: R, S: S, C: S, L: S},
    S: {R: r, r: r, C: C, L: L},
    C: {R: S, r: S, S: S, L: S},
    L: {R: S, r: S, S: S, C: S},
}
_METHODS: Final = {1: _GET, 2: _GET | _SET, 9: _GET}


class FakeV2(FakeDevice):
    """The device, with STOP_COPY and P2P; nothing of a migration region."""

    def __init__(self, bdf: str = "0000:01:10.0", *, prefix: str = "", **_: Any) -> None:
        self.mig = R
        self._ours = -1
        self._lock = threading.RLock()
        super().__init__(bdf, prefix=prefix)
        self.defects |= {"no region", "no saving layout"}

    @classmethod
    def open(cls, bdf: str, _container: object, *, prefix: str = "") -> "FakeV2":
        """Open without a container."""
        return cls(bdf, prefix=prefix)

    def _power_up(self) -> None:
        super()._power_up()
        self._end()
        self.mig = R

    def close(self) -> None:
        """Close, which ends the session."""
        super().close()
        self._end()

    def reset(self) -> None:
        """Go to RUNNING, which ends the session."""
        with self._lock:
            self.resets += 1
            if "reset keeps the session" not in self.defects:
                self._end()
            self.mig = R

    def feature(self, flags: int, data: bytearray, *, argsz: int | None = None) -> int:
        """Do what the kernel does before it asks the driver, then be the driver."""
        number = flags & 0xFFFF
        size = 8 + len(data) if argsz is None else argsz
        methods = flags & (_GET | _SET)
        unknown = flags >> 19 and "unknown flags pass" not in self.defects
        if size < 8 or unknown:
            raise OSError(errno.EINVAL, "argsz or flags")
        if not flags & _PROBE and methods in (0, _GET | _SET):
            raise OSError(errno.EINVAL, "one method")
        if number not in _METHODS:
            raise OSError(errno.ENOTTY, "no such feature")
        if methods & ~_METHODS[number]:
            raise OSError(errno.EINVAL, "no such method")
        if flags & _PROBE:
            return 0
        if size < 16:
            raise OSError(errno.EINVAL, "too small")
        if "shows its steps" in self.defects and methods == _GET:
            self._answer(number, methods, data)
            return 0
        with self._lock:
            self._answer(number, methods, data)
        return 0

    def _answer(self, number: int, methods: int, data: bytearray) -> None:
        if number == 1:
            data[:8] = (3).to_bytes(8, "little")
        elif number == 9:
            data[:8] = (BAR0_SIZE + len(_HEAD) + 1).to_bytes(8, "little")
        elif methods == _GET:
            data[:8] = self.mig.to_bytes(4, "little") + b"\xff" * 4
        else:
            wanted = int.from_bytes(data[:4], "little")
            data[4:8] = b"\xff" * 4
            fd = self._go(wanted)
            data[4:8] = fd.to_bytes(4, "little", signed=True)

    def feature_at(self, address: int) -> None:
        """Fault: no address is good here."""
        raise OSError(errno.EFAULT, f"{address:#x}")

    def _go(self, wanted: int) -> int:
        fd = -1
        if wanted == self.mig:
            if wanted == C and "new session for the same state" in self.defects:
                return self._save()
            return fd
        if wanted not in _NEXT.get(self.mig, {}):
            if "forgets to refuse" in self.defects:
                return fd
            raise OSError(errno.EINVAL, "no such arc")
        while self.mig != wanted:
            fd = self._step(_NEXT[self.mig][wanted])
            if "shows its steps" in self.defects:
                time.sleep(0.005)
        return fd

    def _step(self, new: int) -> int:
        old = self.mig
        if old == L:
            self._load()
        fd = -1
        if (old, new) == (S, C):
            fd = self._save()
        elif (old, new) == (S, L):
            fd = self._begin_resuming()
        elif old == C:
            self._end()
        self.mig = new
        return fd

    def _state(self) -> bytes:
        body = os.pread(self.fd, BAR0_SIZE, 0)
        return _HEAD + body + bytes([sum(body) & 0xFF])

    def _save(self) -> int:
        self._end()
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            self._ours = os.dup(read)  # to drain it: a session that has ended gives nothing
            os.set_inheritable(self._ours, False)
            fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, _ROOM)
            os.write(write, self._state())
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        return read

    def _begin_resuming(self) -> int:
        self._end()
        self._ours, write = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _ROOM)
        os.set_blocking(write, False)  # more than it has room for is refused
        return write

    def _load(self) -> None:
        os.set_blocking(self._ours, False)
        try:
            data = os.read(self._ours, _ROOM)
        except BlockingIOError:
            data = b""
        self._end()
        body = data[len(_HEAD) : len(_HEAD) + BAR0_SIZE]
        if "half a load runs" in self.defects and data:
            return
        check = data[-1:] if "no checksum" in self.defects else bytes([sum(body) & 0xFF])
        if data != _HEAD + body + check or len(body) != BAR0_SIZE:
            self.mig = 0
            raise OSError(errno.EINVAL, "not a whole stream")
        os.pwrite(self.fd, body, 0)

    def _end(self) -> None:
        if self._ours >= 0:
            if self.mig == C and "a dead session gives data" not in self.defects:
                while os.read(self._ours, _ROOM):
                    pass
            os.close(self._ours)
            self._ours = -1
