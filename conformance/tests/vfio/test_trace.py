# SPDX-License-Identifier: GPL-2.0-only
"""The recorder of calls."""

import errno

import pytest

from conformance.vfio import trace


@pytest.fixture(autouse=True)
def _fresh() -> None:
    trace.start()


def test_a_call_is_reported_with_its_outcome() -> None:
    with trace.call("reset"):
        pass
    with trace.call("read") as done:
        done.result = "7"
    with pytest.raises(OSError), trace.call("write"):  # noqa: PT011 - any will do
        raise OSError(errno.EBUSY, "")
    with pytest.raises(ValueError, match="no"), trace.call("map"):
        raise ValueError("no")
    assert trace.lines() == ["reset = ok", "read = 7", "write = EBUSY", "map = ValueError"]


def test_the_first_lines_go_when_there_are_too_many() -> None:
    for number in range(trace.LIMIT + 5):
        trace.note(str(number))
    assert trace.lines()[:2] == ["(5 earlier calls)", "5"]


def _fail(line: str) -> None:
    trace.note(line)
    raise ValueError(line)


def test_quiet_forgets_what_went_well_and_keeps_what_failed() -> None:
    trace.note("before")
    with trace.quiet():
        trace.note("unseen")
    assert trace.lines() == ["before"]
    with pytest.raises(ValueError, match="seen"), trace.quiet():
        _fail("seen")
    assert trace.lines() == ["before", "seen"]


def test_an_unknown_errno_has_a_number() -> None:
    assert trace.errno_name(9999) == "errno 9999"
