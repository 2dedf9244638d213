# SPDX-License-Identifier: GPL-2.0-only
"""The stream of events a run leaves: one JSON object a line, written whole and at once.

The other end may be a character device (a virtio-serial port) or a file; a reader sees each
event as soon as it happened, also when the kernel dies right after it.
"""

import json
import os
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self


class Events:
    """An open stream; without a path it swallows everything. Raises :class:`OSError`.

    Where several processes write to it, ``turn`` is what they take turns by: a longer event
    is not written at once by all kinds of files.
    """

    def __init__(self, path: str | None) -> None:
        self._fd = -1
        self.turn: AbstractContextManager[None] = nullcontext()
        if path:
            # A port is opened as it is; a file is begun or continued.
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def emit(self, event: str, **values: Any) -> None:
        """Write one event."""
        if self._fd < 0:
            return
        line = json.dumps({"event": event, **values}, ensure_ascii=False, default=str)
        data = line.encode("utf-8", "replace") + b"\n"
        with self.turn:
            while data:
                data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        """Close it. Does nothing the second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
