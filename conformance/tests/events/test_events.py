# SPDX-License-Identifier: GPL-2.0-only
"""Events are read whole or refused with words."""

import json
from typing import Any

import pytest

from conformance.events import reader as events
from conformance.report import EventDecoder, EventError, TruncatedEventsError

START = {"event": "start", "id": "test_a.py::test_b", "rules": ["state.reset"]}
RESULT: dict[str, Any] = {
    **START,
    "event": "result",
    "outcome": "passed",
    "duration": 0.5,
    "observed": {},
    "failure": None,
    "skip": None,
    "calls": [],
    "klog": [],
}


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


@pytest.mark.parametrize("portion", [1, 7, 1000])
def test_bytes_come_in_any_portions(portion: int) -> None:
    data = lines(START, RESULT)
    decoder = EventDecoder()
    seen = [
        event
        for at in range(0, len(data), portion)
        for event in decoder.feed(data[at : at + portion])
    ]
    decoder.close()
    assert seen == [START, RESULT]


def test_a_character_may_be_cut_between_portions() -> None:
    data = json.dumps({"event": "agent", "phase": "größe"}, ensure_ascii=False).encode() + b"\n"
    at = data.index(b"\xc3") + 1
    decoder = EventDecoder()
    assert not list(decoder.feed(data[:at]))
    assert next(decoder.feed(data[at:]))["phase"] == "größe"


def test_a_cut_last_line_is_an_error_which_shows_it() -> None:
    decoder = EventDecoder()
    assert list(decoder.feed(lines(START) + b'{"event": "resu')) == [START]
    with pytest.raises(TruncatedEventsError, match=r'event 2: .*"resu') as caught:
        decoder.close()
    assert caught.value.exit_code == 4


def test_a_last_line_without_newline_is_cut_even_if_it_reads_well() -> None:
    decoder = EventDecoder()
    assert not list(decoder.feed(lines(START)[:-1]))
    with pytest.raises(TruncatedEventsError):
        decoder.close()


@pytest.mark.parametrize("line", [b"[1]", b'"x"', b"{", b"\xff{}", b"nul\x00", b"hello"])
def test_a_damaged_line_is_an_error_and_those_before_it_arrive(line: bytes) -> None:
    stream = EventDecoder().feed(lines(START) + line + b"\n" + lines(RESULT))
    assert next(stream) == START
    with pytest.raises(EventError, match="event 2"):
        next(stream)


def test_empty_lines_are_nothing() -> None:
    assert list(EventDecoder().feed(b"\n\r\n" + lines(START))) == [START]


def test_a_result_in_full() -> None:
    failure = dict.fromkeys(("rule", "did", "expected", "actual", "message", "where"), "x")
    raw = {**RESULT, "outcome": "failed", "failure": failure, "klog": ["k"], "new key": 1}
    event = events.parse(raw)
    assert isinstance(event, events.Result)
    assert event.failure == events.Failure("x", "x", "x", "x", "x", "x")
    assert event.klog == ("k",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"event": "strat"}, "expected one of session, start"),
        ({"event": None}, "expected one of session, start"),
        ({"id": 7}, "'id' is 7, expected a string"),
        ({"rules": "state.reset"}, "'rules' is 'state.reset', expected a list of strings"),
        ({"rules": [1]}, "expected a list of strings"),
        ({"outcome": "xfailed"}, "expected one of passed, failed, error, skipped"),
        ({"duration": -1}, "expected a number from 0"),
        ({"duration": True}, "expected a number"),
        ({"duration": float("nan")}, "expected a number from 0"),
        ({"failure": "no"}, "'failure' is 'no', expected an object"),
        ({"observed": []}, "'observed' is .*expected an object"),
    ],
)
def test_a_wrong_key_is_named_with_what_was_expected(change: dict[str, Any], words: str) -> None:
    with pytest.raises(EventError, match=words):
        events.parse({**RESULT, **change})


@pytest.mark.parametrize("key", ["id", "rules", "outcome", "duration"])
def test_a_missing_key_is_named(key: str) -> None:
    raw = {name: value for name, value in RESULT.items() if name != key}
    with pytest.raises(EventError, match=f"key '{key}' is missing"):
        events.parse(raw)


def test_a_session_may_name_its_tests() -> None:
    raw = {
        "event": "session",
        "collected": 1,
        "device": {"bdf": "0000:01:10.0"},
        "peer": None,
        "tests": [{"id": "t", "rules": ["state.reset"]}],
    }
    session = events.parse(raw)
    assert isinstance(session, events.Session)
    assert session.tests == (events.Planned("t", ("state.reset",)),)
    with pytest.raises(EventError, match="an entry of 'tests'"):
        events.parse({**raw, "tests": ["t"]})


def test_a_long_line_is_not_repeated_in_full() -> None:
    with pytest.raises(EventError) as caught:
        events.parse({"event": "x" * 5000})
    assert len(str(caught.value)) < 6000
    assert "characters)" in str(caught.value)
