# SPDX-License-Identifier: GPL-2.0-only
"""Events are read whole or refused with words."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.events import kinds as events
from conformance.events.errors import EventError, TruncatedEventsError
from conformance.events.kinds import KINDS, Event, Phase, TestOutcome
from conformance.events.stream import EventDecoder, EventWriter, line, parse

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
    return b"".join(json.dumps(object_).encode() + b"\n" for object_ in objects)


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
    assert seen == [parse(START), parse(RESULT)]


def test_a_character_may_be_cut_between_portions() -> None:
    data = json.dumps({"event": "agent", "phase": "größe"}, ensure_ascii=False).encode() + b"\n"
    at = data.index(b"\xc3") + 1
    decoder = EventDecoder()
    assert not list(decoder.feed(data[:at]))
    assert next(decoder.feed(data[at:])) == events.Agent("größe", "")


def test_a_cut_last_line_is_an_error_which_shows_it() -> None:
    decoder = EventDecoder()
    assert list(decoder.feed(lines(START) + b'{"event": "resu')) == [parse(START)]
    with pytest.raises(TruncatedEventsError, match=r'event 2: .*"resu') as caught:
        decoder.close()
    assert caught.value.exit_code == 4


def test_a_last_line_without_newline_is_cut_even_if_it_reads_well() -> None:
    decoder = EventDecoder()
    assert not list(decoder.feed(lines(START)[:-1]))
    with pytest.raises(TruncatedEventsError):
        decoder.close()


@pytest.mark.parametrize("damaged", [b"[1]", b'"x"', b"{", b"\xff{}", b"nul\x00", b"hello"])
def test_a_damaged_line_is_an_error_and_those_before_it_arrive(damaged: bytes) -> None:
    stream = EventDecoder().feed(lines(START) + damaged + b"\n" + lines(RESULT))
    assert next(stream) == parse(START)
    with pytest.raises(EventError, match="event 2"):
        next(stream)


def test_empty_lines_are_nothing() -> None:
    assert list(EventDecoder().feed(b"\n\r\n" + lines(START))) == [parse(START)]


def test_a_result_in_full() -> None:
    failure = dict.fromkeys(("rule", "did", "expected", "actual", "message", "where"), "x")
    raw = {**RESULT, "outcome": "failed", "failure": failure, "klog": ["k"], "new key": 1}
    event = parse(raw)
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
        parse({**RESULT, **change})


@pytest.mark.parametrize("key", ["id", "rules", "outcome", "duration"])
def test_a_missing_key_is_named(key: str) -> None:
    raw = {name: value for name, value in RESULT.items() if name != key}
    with pytest.raises(EventError, match=f"key '{key}' is missing"):
        parse(raw)


def test_a_session_may_name_its_tests() -> None:
    raw = {
        "event": "session",
        "collected": 1,
        "device": {"bdf": "0000:01:10.0"},
        "peer": None,
        "tests": [{"id": "t", "rules": ["state.reset"]}],
    }
    session = parse(raw)
    assert isinstance(session, events.Session)
    assert session.tests == (events.Planned("t", ("state.reset",)),)
    with pytest.raises(EventError, match="an entry of 'tests'"):
        parse({**raw, "tests": ["t"]})


def test_a_long_line_is_not_repeated_in_full() -> None:
    with pytest.raises(EventError) as caught:
        parse({"event": "x" * 5000})
    assert len(str(caught.value)) < 6000
    assert "characters)" in str(caught.value)


FAILURE = events.Failure("state.reset", "a", "b", "c", "d", "e")
EVERY: tuple[Event, ...] = (
    events.Session(
        collected=1,
        device={"bdf": "0000:01:10.0"},
        peer=None,
        versions={"kernel": "6.12", "python": "3.13", "pytest": "8"},
        seed=7,
        tests=(events.Planned("t", ("state.reset",)),),
        workers=2,
        protocol=1,
        volatile=("0:0x4:0xff",),
    ),
    events.Start("t", ("state.reset",)),
    events.Result("t", ("r",), TestOutcome.FAILED, 0.5, {"r": "x"}, FAILURE, None, ("c",), ("k",)),
    events.Finish(1, 2.5),
    events.Agent("boot", "größe"),
    events.AgentError("bind", "no", ("k",)),
    events.Output("a\nb"),
    events.Coverage("/a.gcda", "AAAA"),
    events.Ratio("stream", "reads", "memcpy", None, 0.5, 0.4, 0.6, 21),
)


def test_the_reader_takes_what_the_writer_writes(tmp_path: Path) -> None:
    assert {type(event) for event in EVERY} == set(KINDS)
    path = tmp_path / "events"
    with EventWriter(str(path)) as writer:
        for event in EVERY:
            writer.emit(event)
    assert tuple(EventDecoder().feed(path.read_bytes())) == EVERY
    assert path.read_bytes() == b"".join(map(line, EVERY))


@pytest.mark.parametrize(
    ("send", "event"),
    [
        (lambda port: port.phase("ready"), events.Agent(Phase.READY, "")),
        (lambda port: port.error("boot", "no", ["k"]), events.AgentError("boot", "no", ("k",))),
        (lambda port: port.output("a"), events.Output("a")),
        (lambda port: port.coverage("/a", "AA"), events.Coverage("/a", "AA")),
    ],
)
def test_the_reader_takes_what_the_agent_sends(
    send: Callable[[Any], None], event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Path(__file__).parents[3] / "vm-images/guest"
    monkeypatch.syspath_prepend(str(guest))
    port = importlib.import_module("agent.port").Port
    receive, send_end = os.pipe()
    one = port.__new__(port)  # the guest's port is a device that this machine does not have
    one._fd = send_end
    send(one)
    assert list(EventDecoder().feed(os.read(receive, 4096))) == [event]
    os.close(receive)
    os.close(send_end)
    for name in [name for name in sys.modules if name.partition(".")[0] == "agent"]:
        monkeypatch.delitem(sys.modules, name)
