# SPDX-License-Identifier: GPL-2.0-only
"""The files of a machine, below a folder: ``/``, or a made one in tests. Reads only."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.kernel import log

_LOG_BYTES = 4 << 20
"""More than any kernel keeps of its log."""


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        root: What stands for ``/``.
    """

    root: Path = Path("/")

    @property
    def sysfs(self) -> Path:
        """Its sysfs."""
        return self.root / "sys"

    @property
    def proc(self) -> Path:
        """Its procfs."""
        return self.root / "proc"

    def path(self, name: str) -> Path:
        """Return where a file of the machine is, given as an absolute path."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """Return the content of a file without the space around it; None if it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return self.path(name).read_text(encoding="utf-8", errors="replace").strip()
        return None

    def number(self, name: str) -> int:
        """Return the number in a file; 0 if it has none."""
        text = self.text(name) or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0

    def bytes(self, name: str) -> bytes | None:
        """Return the content of a file; None if it cannot be read."""
        with contextlib.suppress(OSError):
            return self.path(name).read_bytes()
        return None

    def names(self, name: str) -> tuple[str, ...]:
        """Return the sorted names in a folder; none if it cannot be read."""
        with contextlib.suppress(OSError):
            return tuple(sorted(entry.name for entry in self.path(name).iterdir()))
        return ()

    def exists(self, name: str) -> bool:
        """Whether a file or folder is there and can be seen."""
        with contextlib.suppress(OSError):
            return self.path(name).exists()
        return False

    def usable(self, name: str) -> bool:
        """Whether this user may read and write a file; it is not opened."""
        return os.access(self.path(name), os.R_OK | os.W_OK)

    def log(self) -> tuple[str, ...]:
        """Return the lines of the kernel log; none if this user may not read it."""
        return tuple(self._log())

    def _log(self) -> Iterator[str]:
        try:
            fd = os.open(self.path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return
        records: list[bytes] = []
        try:
            size = 0
            while size < _LOG_BYTES and (data := _record(fd)):
                records.append(data)
                size += len(data)
        finally:
            os.close(fd)
        for raw in b"".join(records).decode(errors="replace").split("\n"):
            # Lines that begin with a space are properties of the record before them.
            if not raw.startswith(" ") and (record := log.parse(raw)):
                yield from log.lines([record])


def _record(fd: int) -> bytes:
    """Return the next record of the log; nothing at its end."""
    while True:
        try:
            return os.read(fd, 8192)
        except BrokenPipeError:
            continue  # it was overwritten meanwhile, the next is not
        except OSError:
            return b""
