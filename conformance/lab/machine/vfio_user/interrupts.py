# SPDX-License-Identifier: GPL-2.0-only
"""The MSI-X vectors of a function: an eventfd for each, or a pending bit while it has none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from conformance.lab.machine.vfio_user.connection import close_all
from conformance.lab.machine.vfio_user.errors import RefusedError
from conformance.uapi.constants import (
    VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_BOOL,
    VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE,
)

_ONE = (1).to_bytes(8, "little")


class Interrupts:
    """All vectors.

    Attributes:
        count: How many there are.
        signalled: How many interrupts reached the client since the server's start.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.signalled = 0
        self._fds: list[int | None] = [None] * count
        self._pending = 0
        self._changed: Callable[[int], None] = lambda _pending: None

    def on_pending(self, call: Callable[[int], None]) -> None:
        """Call `call` with the pending bits when they change; vector 0 is the lowest bit."""
        self._changed = call

    def raise_(self, vector: int) -> None:
        """Interrupt the client; without a way to, the vector becomes pending."""
        fd = self._fds[vector]
        if fd is None:
            self._set_pending(self._pending | 1 << vector)
        else:
            os.write(fd, _ONE)
            self.signalled += 1

    def clear_pending(self, vector: int | None = None) -> None:
        """Forget that a vector is pending; without one, that any is."""
        self._set_pending(0 if vector is None else self._pending & ~(1 << vector))

    def set(self, flags: int, start: int, count: int, data: bytes, fds: Sequence[int]) -> None:
        """Do what VFIO_DEVICE_SET_IRQS asks for. The descriptors are taken over on success.

        Raises:
            RefusedError: EINVAL, for vectors that do not exist or what the function cannot do.
        """
        if start + count > self.count:
            raise RefusedError(
                errno.EINVAL, f"vectors {start} to {start + count}: {self.count} exist"
            )
        vectors = range(start, start + count)
        if flags == VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER:
            if fds and len(fds) != count:
                raise RefusedError(errno.EINVAL, f"{len(fds)} files came for {count} vectors")
            for at, vector in enumerate(vectors):
                self._attach(vector, fds[at] if fds else None)
        elif flags == VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER:
            if count == 0:
                self.disconnect()
            for vector in vectors:
                self.raise_(vector)
        elif flags == VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER:
            if len(data) < count:
                raise RefusedError(errno.EINVAL, f"{len(data)} booleans came for {count} vectors")
            for vector, wanted in zip(vectors, data, strict=False):
                if wanted:
                    self.raise_(vector)
        else:
            raise RefusedError(errno.EINVAL, f"interrupt flags {flags:#x}")

    def disconnect(self) -> None:
        """Close all eventfds."""
        for vector in range(self.count):
            self._attach(vector, None)

    def _attach(self, vector: int, fd: int | None) -> None:
        old, self._fds[vector] = self._fds[vector], fd
        if old is not None:
            close_all([old])
        if fd is not None and self._pending >> vector & 1:
            self.clear_pending(vector)
            self.raise_(vector)

    def _set_pending(self, pending: int) -> None:
        self._pending = pending
        self._changed(pending)
