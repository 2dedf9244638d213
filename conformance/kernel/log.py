# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's log from a point on, the reports in it, and the taint flags."""

import errno
import os
import re
import select
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from conformance.closing import Closing
from conformance.kernel import trouble

#: A byte that is not printable ASCII, as records of /dev/kmsg have it.
_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")

#: Bits of /proc/sys/kernel/tainted that stand for trouble or foreign code, with their letters.
_TAINT_BITS: Final = {
    0: "P, a proprietary module",
    1: "F, a module was force loaded",
    2: "S, the processor is out of specification",
    3: "R, a module was force unloaded",
    4: "M, a machine check",
    5: "B, a bad page",
    6: "U, user space asked for it",
    7: "D, the kernel died",
    8: "A, an ACPI table was overridden",
    9: "W, a warning",
    10: "C, a staging driver",
    11: "I, a firmware bug was worked around",
    12: "O, an out-of-tree module",
    13: "E, an unsigned module",
    14: "L, a soft lockup",
    15: "K, a live patch",
    16: "X, the distribution's own",
    17: "T, the struct layout was randomized",
    18: "N, an in-kernel test",
    19: "J, fwctl's debugging was used",
}


@dataclass(frozen=True)
class Record:
    """One message of the kernel log.

    Attributes:
        level: 0 (emergency) to 7 (debug).
        seconds: Since boot.
        text: The message; more than one line where it has line ends.
        facility: Who wrote it: 0 is the kernel, all others user space.
    """

    level: int
    seconds: float
    text: str
    facility: int = 0


class KernelLog(Closing):
    """Messages that come after it was made. Without /dev/kmsg (``missing``) there are none."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self.missing = ""
        self._fd = -1
        self._coming = select.poll()
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
            self._coming.register(self._fd)
        except OSError as error:
            self.missing = f"{path}: {error.strerror}"

    def close(self) -> None:
        """Close it. Does nothing the second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self) -> list[Record]:
        """Return the messages since the last call, or since the beginning."""
        records: list[Record] = []
        if self._fd < 0 or not self._coming.poll(0):  # mostly so; a read that fails takes longer
            return records
        while True:
            try:
                raw = os.read(self._fd, 8192)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                # Overwritten before we read: go on with the oldest that is left.
                records.append(Record(4, 0.0, "(earlier messages were lost)"))
                continue
            if not raw:
                break
            if record := parse(raw.decode(errors="replace")):
                records.append(record)
        return records


def parse(raw: str) -> Record | None:
    r"""Read one record of /dev/kmsg; None if it is not one.

    >>> parse("4,310,5120077,-;WARNING: CPU: 0 PID: 1\n SUBSYSTEM=pci\n")
    Record(level=4, seconds=5.120077, text='WARNING: CPU: 0 PID: 1', facility=0)
    """
    head, separator, text = raw.partition(";")
    fields = head.split(",")
    if not separator or len(fields) < 3 or not all(map(_is_number, (fields[0], fields[2]))):
        return None
    priority = int(fields[0])
    message = _plain(text.partition("\n")[0])
    return Record(priority & 7, int(fields[2]) / 1e6, message, priority >> 3)


def _is_number(text: str) -> bool:
    return len(text) < 20 and text.isascii() and text.isdigit()


def _plain(text: str) -> str:
    r"""Undo how the kernel writes a byte that is not printable ASCII: as \xHH."""
    if "\\x" not in text:
        return text
    data = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text.encode())
    return data.decode(errors="replace")


def lines(records: Iterable[Record]) -> Iterator[str]:
    """Yield the lines that the kernel itself wrote."""
    for record in records:
        if record.facility == 0:
            yield from record.text.splitlines()


def reports(records: Iterable[Record]) -> list[str]:
    """Return the first lines of warnings, oopses, sanitizer, lockdep and leak reports."""
    return trouble.faults(lines(records))


class Taint(Closing):
    """The taint flags, from a file that stays open: they are asked for several times a test."""

    def __init__(self, path: str = "/proc/sys/kernel/tainted") -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def read(self) -> int:
        """Return the flags, 0 where they cannot be read."""
        return int(os.pread(self._fd, 32, 0) or b"0") if self._fd >= 0 else 0

    def close(self) -> None:
        """Close it. Does nothing the second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def taint_words(flags: int) -> list[str]:
    """Say what taint flags mean.

    >>> taint_words(1 << 9)
    ['W, a warning']
    """
    return [
        _TAINT_BITS.get(bit, f"bit {bit}") for bit in range(flags.bit_length()) if flags >> bit & 1
    ]
