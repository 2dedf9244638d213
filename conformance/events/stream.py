# SPDX-License-Identifier: GPL-2.0-only
"""The stream of events that a run leaves: one JSON object a line, written whole and at once.

The other end may be a character device (a virtio-serial port) or a file; a reader sees each
event as soon as it happened, also when the kernel dies right after it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from conformance.closing import Closing
from conformance.events.errors import EventError, TruncatedEventsError
from conformance.events.fields import Fields
from conformance.events.kinds import KINDS, Event

_KINDS: Final = {kind.KIND: kind for kind in KINDS}
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, default=str)

#: Far more than any event has; what is deeper or longer comes from a guest that went wrong.
_DEEPEST: Final = 20
_LONGEST: Final = 64 << 20


def _depth(value: object) -> int:
    """Return how deep lists and objects are nested, as far as one too many."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inner = [one for one in level if isinstance(one, list | dict)]
        level = [x for one in inner for x in (one.values() if isinstance(one, dict) else one)]
        depth += bool(inner)
    return depth


def line(event: Event) -> bytes:
    """Return the line of an event, its end included."""
    text = _ENCODER.encode(event.as_json())
    return text.encode("utf-8", "replace") + b"\n"


def parse(raw: Mapping[str, Any], number: int = 0) -> Event:
    """Return the event that a JSON object describes.

    Args:
        raw: the object of one line.
        number: position in the stream, for the error.

    Raises:
        EventError: the object is no event, or lacks what its kind must have.
    """

    def complain(problem: str) -> EventError:
        return EventError(problem, json.dumps(raw, default=str), number)

    kind = raw.get("event")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise complain(f"key 'event' is {kind!r}, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind].read(Fields(raw, complain))


class EventWriter(Closing):
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

    def emit(self, event: Event) -> None:
        """Write one event."""
        if self._fd < 0:
            return
        data = line(event)
        with self.turn:
            while data:
                data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        """Close it. Does nothing the second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class EventDecoder:
    """Turns the bytes of an events port or file into events, line by line.

    Bytes come in any portions. `close()` returns whether the stream ended where a line
    did: half a line means that the guest died while it wrote, which nobody may
    mistake for the end of a run.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._number = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events whose lines `data` completes.

        Raises:
            EventError: a line is no event.
        """
        *lines, last = data.split(b"\n")
        for one in lines:
            self._rest += one
            whole, self._rest = self._rest, bytearray()
            self._number += 1
            if whole.strip(b"\r"):
                yield self._decode(bytes(whole))
        self._rest += last
        if len(self._rest) > _LONGEST:
            shown = self._rest[:200].decode(errors="replace")
            raise EventError(f"a line of more than {_LONGEST >> 20} MiB", shown, self._number + 1)

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            TruncatedEventsError: the last line has no end.
        """
        rest, self._rest = self._rest, bytearray()
        if rest.strip(b"\r"):
            raise TruncatedEventsError(rest.decode(errors="replace"), self._number + 1)

    def _decode(self, data: bytes) -> Event:
        try:
            value = json.loads(data.decode())
            if _depth(value) > _DEEPEST:
                raise ValueError(f"nested more than {_DEEPEST} deep")
        except (ValueError, RecursionError) as error:  # among them UnicodeDecodeError
            raise EventError(
                f"not a line of JSON in UTF-8 ({error})",
                data.decode(errors="replace"),
                self._number,
            ) from error
        if not isinstance(value, dict):
            raise EventError("expected a JSON object", data.decode(), self._number)
        return parse(value, self._number)
