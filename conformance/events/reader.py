# SPDX-License-Identifier: GPL-2.0-only
"""The events a guest sends, one JSON object a line, read and checked.

Written by the pytest plugin (`session`, `start`, `result`, `finish`) and by the agent
which runs it in the guest (`agent`, `agent-error`). A key which is missing or of the
wrong type is an error; a key nobody here knows is ignored, so that a newer guest may
say more.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.events.errors import EventError, TruncatedEventsError

OUTCOMES = ("passed", "failed", "error", "skipped", "not-applicable")


@dataclass(frozen=True)
class Planned:
    """A test which the session is going to run."""

    id: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Session:
    """pytest has collected its tests and opened its device."""

    collected: int
    device: Mapping[str, Any]
    peer: Mapping[str, Any] | None
    versions: Mapping[str, str]  # kernel, python, pytest
    seed: int | None
    tests: tuple[Planned, ...]  # empty where the guest tells only their number
    workers: int = 1  # how many tests may run beside each other
    protocol: int = 0  # the version that is judged; 0 where the guest does not tell
    lacking: str = ""  # why nothing of the device can be judged
    volatile: tuple[str, ...] = ()  # registers which were not looked at, BAR:OFFSET:MASK


@dataclass(frozen=True)
class Start:
    """A test begins."""

    id: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """Why a test failed, in the words of the check that found it."""

    rule: str
    did: str
    expected: str
    actual: str
    message: str
    where: str


@dataclass(frozen=True)
class Result:
    """A test ended; `duration` is in seconds."""

    id: str
    rules: tuple[str, ...]
    outcome: str
    duration: float
    observed: Mapping[str, str]  # FREE rule -> the outcome seen
    failure: Failure | None
    skip: str | None
    calls: tuple[str, ...]  # decoded VFIO calls, in order
    klog: tuple[str, ...]  # kernel log lines which appeared meanwhile


@dataclass(frozen=True)
class Finish:
    """pytest ended with `status`, `duration` seconds after it began."""

    status: int
    duration: float


@dataclass(frozen=True)
class Agent:
    """The guest's agent reached a phase."""

    phase: str
    detail: str


@dataclass(frozen=True)
class AgentError:
    """The guest's agent could not go on: no tests will follow."""

    phase: str
    message: str
    klog: tuple[str, ...] = field(default=())


Event = Session | Start | Result | Finish | Agent | AgentError


class _Fields:
    """The keys of one JSON object, each asked for with its type."""

    def __init__(self, raw: Mapping[str, Any], complain: Callable[[str], EventError]) -> None:
        self._raw = raw
        self._complain = complain

    def _get(self, key: str, kinds: tuple[type, ...], wanted: str) -> Any:
        if key not in self._raw:
            raise self._complain(f"key {key!r} is missing, expected {wanted}")
        value = self._raw[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self._complain(f"key {key!r} is {value!r}, expected {wanted}")
        return value

    def text(self, key: str) -> str:
        return str(self._get(key, (str,), "a string"))

    def text_or(self, key: str, default: str = "") -> str:
        """Text of a key which may be absent or null."""
        return default if self._raw.get(key) is None else self.text(key)

    def number(self, key: str) -> float:
        value = float(self._get(key, (int, float), "a number"))
        if not 0 <= value < float("inf"):
            raise self._complain(f"key {key!r} is {value!r}, expected a number from 0")
        return value

    def whole(self, key: str) -> int:
        value: int = self._get(key, (int,), "a whole number from 0")
        if value < 0:
            raise self._complain(f"key {key!r} is {value!r}, expected a whole number from 0")
        return value

    def texts(self, key: str, *, optional: bool = False) -> tuple[str, ...]:
        if optional and self._raw.get(key) is None:
            return ()
        values = self._get(key, (list,), "a list of strings")
        if not all(isinstance(value, str) for value in values):
            raise self._complain(f"key {key!r} is {values!r}, expected a list of strings")
        return tuple(values)

    def mapping(self, key: str) -> Mapping[str, Any]:
        value: Mapping[str, Any] = self._get(key, (dict,), "an object")
        return value

    def mapping_or_none(self, key: str) -> Mapping[str, Any] | None:
        return None if self._raw.get(key) is None else self.mapping(key)

    def inner(self, raw: object, what: str) -> "_Fields":
        if not isinstance(raw, dict):
            raise self._complain(f"{what} is {raw!r}, expected an object")
        return _Fields(raw, self._complain)

    def objects(self, key: str) -> "tuple[_Fields, ...]":
        values = self._get(key, (list,), "a list of objects")
        return tuple(self.inner(value, f"an entry of {key!r}") for value in values)

    def has(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def one_of(self, key: str, valid: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in valid:
            raise self._complain(f"key {key!r} is {value!r}, expected one of {', '.join(valid)}")
        return value


def _session(f: _Fields) -> Session:
    tests = f.objects("tests") if f.has("tests") else ()
    return Session(
        collected=f.whole("collected"),
        device=f.mapping("device"),
        peer=f.mapping_or_none("peer"),
        versions={key: f.text(key) for key in ("kernel", "python", "pytest") if f.has(key)},
        seed=f.whole("seed") if f.has("seed") else None,
        tests=tuple(Planned(test.text("id"), test.texts("rules")) for test in tests),
        workers=f.whole("workers") if f.has("workers") else 1,
        protocol=f.whole("protocol") if f.has("protocol") else 0,
        lacking=f.text_or("lacking"),
        volatile=f.texts("volatile", optional=True),
    )


def _failure(f: _Fields) -> Failure:
    return Failure(
        rule=f.text_or("rule"),
        did=f.text_or("did"),
        expected=f.text_or("expected"),
        actual=f.text_or("actual"),
        message=f.text_or("message"),
        where=f.text_or("where"),
    )


def _result(f: _Fields) -> Result:
    failure = f.mapping_or_none("failure")
    observed = f.mapping_or_none("observed") or {}
    return Result(
        id=f.text("id"),
        rules=f.texts("rules"),
        outcome=f.one_of("outcome", OUTCOMES),
        duration=f.number("duration"),
        observed={rule: str(outcome) for rule, outcome in observed.items()},
        failure=None if failure is None else _failure(f.inner(failure, "key 'failure'")),
        skip=f.text_or("skip") or None,
        calls=f.texts("calls", optional=True),
        klog=f.texts("klog", optional=True),
    )


_FORMS: Mapping[str, Callable[[_Fields], Event]] = {
    "session": _session,
    "start": lambda f: Start(f.text("id"), f.texts("rules")),
    "result": _result,
    "finish": lambda f: Finish(f.whole("status"), f.number("duration")),
    "agent": lambda f: Agent(f.text("phase"), f.text_or("detail")),
    "agent-error": lambda f: AgentError(
        f.text("phase"), f.text("message"), f.texts("klog", optional=True)
    ),
}


def parse(raw: Mapping[str, Any], number: int = 0) -> Event:
    """Return the event which a JSON object describes.

    Args:
        raw: the object of one line.
        number: position in the stream, for the error.

    Raises:
        EventError: the object is no event, or lacks what its kind must have.
    """

    def complain(problem: str) -> EventError:
        return EventError(problem, json.dumps(raw, default=str), number)

    kind = raw.get("event")
    if not isinstance(kind, str) or kind not in _FORMS:
        raise complain(f"key 'event' is {kind!r}, expected one of {', '.join(_FORMS)}")
    return _FORMS[kind](_Fields(raw, complain))


class EventDecoder:
    """Turns the bytes of an events port or file into JSON objects, line by line.

    Bytes come in any portions. `close()` tells whether the stream ended where a line
    did: half a line means that the guest died while it wrote, which nobody may
    mistake for the end of a run.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the objects whose lines `data` completes.

        Raises:
            EventError: a line is not a JSON object in UTF-8.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._number += 1
            if line.strip(b"\r"):
                yield self._decode(line)

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            TruncatedEventsError: the last line has no end.
        """
        rest, self._rest = self._rest, b""
        if rest.strip(b"\r"):
            raise TruncatedEventsError(rest.decode(errors="replace"), self._number + 1)

    def _decode(self, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line.decode())
        except ValueError as error:  # UnicodeDecodeError and JSONDecodeError
            raise EventError(
                f"not a line of JSON in UTF-8 ({error})",
                line.decode(errors="replace"),
                self._number,
            ) from error
        if not isinstance(value, dict):
            raise EventError("expected a JSON object", line.decode(), self._number)
        return value
