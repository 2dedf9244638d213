# SPDX-License-Identifier: GPL-2.0-only
"""Sessions that share the tests: each test runs in one of them, in an even share."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.events.kinds import Session
from conformance.events.stream import parse
from conformance.plugin.share import LONG, Plan, Share
from conformance.running import selection
from conformance.tests.plugin.inner import PEER, Inner

pytest_plugins = ["pytester"]

SOURCE = """
@rule("state.default")
@pytest.mark.parametrize("number", range(8))
def test_it(device, number):
    assert number != 7
"""
NAMES = [f"test_it.py::test_it[{number}]" for number in range(8)]


def hands(names: list[str], plan: Plan, count: int, workers: int) -> list[list[str]]:
    """Return the tests of each worker of all sessions."""
    dealt = (Share(number, count, plan).deal(names, workers) for number in range(1, count + 1))
    return [[names[index] for index in hand] for one in dealt for hand in one]


@given(
    st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=60),
    st.integers(1, 4),
    st.integers(1, 3),
    st.data(),
)
def test_each_test_is_in_one_share(
    tests: set[tuple[str, int]], count: int, workers: int, data: st.DataObject
) -> None:
    names = [f"test_{file}.py::test_{number:02}" for file, number in sorted(tests)]
    known = {name: length for name in names if (length := data.draw(st.floats(0, 9))) > 1}
    some = st.frozensets(st.sampled_from(names)) if names else st.just(frozenset())
    plan = Plan(known, tuple(data.draw(st.lists(some, max_size=2))))
    dealt = hands(names, plan, count, workers)
    assert len(dealt) == count * workers
    assert sorted(name for hand in dealt for name in hand) == names
    for hand in dealt:
        assert hand == sorted(hand, key=lambda name: (plan.rank(name), names.index(name)))


def test_shares_are_even_where_one_test_takes_as_long_as_many() -> None:
    names = ["test_a.py::test_long", *(f"test_b.py::test_{number}" for number in range(100))]
    plan = Plan({name: 10.0 if "long" in name else 0.1 for name in names})
    dealt = hands(names, plan, 2, 1)
    assert sorted(len(hand) for hand in dealt) == [1, 100]


def test_tests_of_unknown_length_count_as_a_usual_one() -> None:
    names = [f"test_{letter}.py::test_it" for letter in "abcd"]
    plan = Plan({names[0]: 2.0, names[1]: 2.0, "test_gone.py::test_it": 9.0})
    assert [len(hand) for hand in hands(names, plan, 2, 1)] == [2, 2]


def test_long_tests_of_unknown_length_are_guessed_to_be_long() -> None:
    names = [f"{next(iter(LONG))}[{part}]" for part in range(2)]
    names += [f"test_z{number}.py::test_it" for number in range(20)]
    dealt = hands(names, Plan(), 2, 1)
    assert [len(set(names[:2]) & set(hand)) for hand in dealt] == [1, 1]


def test_those_said_to_be_long_are_in_the_suite() -> None:
    names = (test.name for test in selection.collected())
    assert LONG.keys() <= {name.rpartition("/")[2].partition("[")[0] for name in names}


def test_one_session_without_a_plan_deals_in_turn() -> None:
    assert Share().deal(["a", "b", "c"], 2) == [[0, 2], [1]]


def test_two_sessions_are_one(inner: Inner, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"lengths": {NAMES[0]: 0.5}, "first": [[NAMES[7]]]}))
    sessions, ran = [], []
    for number in (1, 2):
        options = (f"--vfio-share={number}/2", f"--vfio-plan={plan}", "--vfio-seed=1")
        result = inner.run(SOURCE, f"--vfio-peer={PEER}", *options)
        events = [parse(event) for event in inner.events]
        sessions.append(next(event for event in events if isinstance(event, Session)))
        ran.append([event["id"].rpartition("/")[2] for event in inner.results])
        assert result.ret == (1 if NAMES[7].rpartition("::")[2] in str(ran[-1]) else 0)
    assert sessions[0] == sessions[1]
    assert sessions[0].collected == len(sessions[0].tests) == 8
    assert len(ran[0]) + len(ran[1]) == len({*ran[0], *ran[1]}) == 8
    assert "[7]" in ran[0][0]


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "1/"])
def test_bad_share(inner: Inner, share: str) -> None:
    result = inner.run(SOURCE, f"--vfio-share={share}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is not K/N" in "\n".join([*result.errlines, *result.outlines])


@pytest.mark.parametrize("text", ["", "[]", '{"lengths": {"a": "b"}, "first": []}', "{}"])
def test_bad_plan(inner: Inner, tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    result = inner.run(SOURCE, f"--vfio-plan={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--vfio-plan" in "\n".join([*result.errlines, *result.outlines])
