# SPDX-License-Identifier: GPL-2.0-only
"""Events of a guest that went wrong, or means harm: refused in words."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.events import stream
from conformance.events.errors import EventError
from conformance.events.stream import EventDecoder, parse
from kpatch.tests.fuzzing import drawn

RESULT = {"event": "result", "id": "a", "rules": [], "outcome": "passed", "duration": 0.1}


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"event": ' * 100_000,
        b'{"event": "session", "collected": 1, "device": ' + b'{"a":' * 50 + b"1" + b"}" * 51,
        b'{"event": "finish", "status": 1' + b"0" * 5000 + b', "duration": 1}',
        b'{"event": "finish", "status": 1' + b"0" * 400 + b', "duration": 1}',
        b'{"event": "finish", "status": 0, "duration": 1' + b"0" * 400 + b"}",
        b'{"event": "finish", "status": 0, "duration": NaN}',
        b'{"event": "finish", "status": 0, "duration": 1e999}',
        b'\xef\xbb\xbf{"event": "finish", "status": 0, "duration": 1}',
        b"\xff\xfe",
        b"1",
    ],
    ids=range(11),
)
def test_crafted_line(line: bytes) -> None:
    with pytest.raises(EventError) as caught:
        list(EventDecoder().feed(line + b"\n"))
    assert str(caught.value)


def test_line_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LONGEST", 1 << 20)
    decoder = EventDecoder()
    for _ in range(16):
        assert list(decoder.feed(b"x" * 65536)) == []
    with pytest.raises(EventError, match="a line of more than 1 MiB"):
        list(decoder.feed(b"x"))


def test_time_grows_with_the_bytes_of_a_line_that_comes_in_portions() -> None:
    """As it did not when each portion copied all before it: 8 MB in bytes of 100 took minutes."""
    decoder = EventDecoder()
    data = json.dumps({**RESULT, "klog": ["x" * 8_000_000]}).encode() + b"\n"
    begun = time.monotonic()
    events = [one for at in range(0, len(data), 100) for one in decoder.feed(data[at : at + 100])]
    assert len(events) == 1
    assert time.monotonic() - begun < 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


KEYS = (
    *("id", "rules", "outcome", "duration", "observed", "failure", "skip", "calls", "klog"),
    *("switched_off", "collected", "device", "peer", "tests", "workers", "volatile", "status"),
    *("phase", "detail", "message", "text"),
)


@drawn(50)
@given(
    st.sampled_from(("session", "start", "result", "finish", "agent", "agent-error", "output")),
    st.dictionaries(st.sampled_from(KEYS), JSON),
)
def test_no_event_is_too_odd(kind: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(EventError):
        stream.line(parse({**fields, "event": kind}))
