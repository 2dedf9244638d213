# SPDX-License-Identifier: GPL-2.0-only
"""The plugin: results, events, kernel trouble, rules and skips."""

from pathlib import Path

import pytest

from conformance.events.kinds import Result
from conformance.events.stream import parse
from conformance.tests.plugin.inner import BDF, HEAD, PEER, Inner

pytest_plugins = ["pytester"]


def test_the_events_of_a_good_run(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_state(migration):
    expect_equal(migration.state, 1, did="open")
""",
        "--vfio-seed=7",
        f"--vfio-peer={PEER}",
    )
    assert result.ret == 0
    session, start, outcome, finish = inner.events
    assert session["collected"] == 1
    assert session["tests"] == [{"id": start["id"], "rules": ["state.default"]}]
    assert session["device"] == {"bdf": BDF, "driver": "fake"}
    assert session["peer"]["bdf"] == PEER
    assert session["seed"] == 7
    assert start == {"event": "start", "id": "test_it.py::test_state", "rules": ["state.default"]}
    assert outcome.pop("duration") >= 0
    assert outcome == {
        "event": "result",
        "id": "test_it.py::test_state",
        "rules": ["state.default"],
        "outcome": "passed",
        "observed": {},
        "failure": None,
        "skip": None,
        "calls": [],
        "klog": [],
    }
    assert finish["status"] == 0


def test_the_report_takes_every_event(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_passes(migration): pass

@rule("state.default")
def test_fails(migration): fail(did="x", expected="y", actual="z")

@rule("state.default")
def test_breaks(migration): raise KeyError

@rule("state.default")
def test_skips(peer): pass

@rule("state.arc-free.0-2")
def test_observes(observe): observe("state.arc-free.0-2", "taken")
"""
    )
    parsed = [parse(event, number) for number, event in enumerate(inner.events)]
    outcomes = [event.outcome for event in parsed if isinstance(event, Result)]
    assert outcomes == ["passed", "failed", "failed", "skipped", "passed"]


def test_a_broken_rule(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_state(migration):
    migration.set_state(2)
    with expect_errno(16, did="write 3 (_RUNNING|_SAVING)"):
        migration.set_state(3)
"""
    )
    assert result.ret == 1
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["rule"] == "state.default"
    assert outcome["failure"]["did"] == "write 3 (_RUNNING|_SAVING)"
    assert outcome["failure"]["expected"] == "EBUSY"
    assert outcome["failure"]["actual"] == "EINVAL"
    assert outcome["failure"]["where"].endswith("test_it.py:9")
    assert outcome["calls"] == [
        "device_state <- 2 (_SAVING) = ok",
        "device_state <- 3 (_RUNNING|_SAVING) = EINVAL",
    ]
    result.stdout.fnmatch_lines(["*VFIO calls*", "device_state <- 2 (_SAVING) = ok"])


def test_a_mistake_in_a_test_is_reported_as_it_is(inner: Inner) -> None:
    inner.run("@rule('state.default')\ndef test_it(device):\n    raise KeyError('x')\n")
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["rule"] == ""
    assert outcome["failure"]["message"] == "KeyError: 'x'"


@pytest.mark.parametrize("terse", [(), ("--vfio-terse",)], ids=["full", "terse"])
def test_a_kernel_report_fails_the_test(inner: Inner, terse: tuple[str, ...]) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device):
    fakes.FakeLog.coming += ["chatter", "WARNING: CPU: 0 PID: 1 at x.c:1", "Call Trace:"]

@rule("state.default")
def test_two(device):
    fakes.FakeLog.coming += ["chatter"]
""",
        *terse,
    )
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*_ test_one _*", "The kernel reported:"])
    one, two = inner.results
    assert one["outcome"] == "failed"
    assert one["failure"]["expected"] == "a silent kernel"
    assert one["failure"]["actual"] == "WARNING: CPU: 0 PID: 1 at x.c:1"
    assert one["klog"] == ["chatter", "WARNING: CPU: 0 PID: 1 at x.c:1", "Call Trace:"]
    assert two["outcome"] == "passed"
    assert two["klog"] == ["chatter"]


def test_a_limit_of_lockdep_fails_nothing_and_is_reported(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device):
    fakes.FakeLog.coming += ["BUG: MAX_LOCKDEP_CHAINS too low!", "turning off the validator."]

@rule("state.default")
def test_two(device):
    pass
"""
    )
    assert result.ret == 0
    one, two = inner.results
    assert one["outcome"] == "passed"
    assert one["switched_off"] == {"lockdep": "BUG: MAX_LOCKDEP_CHAINS too low!"}
    assert "switched_off" not in two


def test_a_report_while_a_fixture_ends_fails_the_test(inner: Inner) -> None:
    result = inner.run(
        """
@pytest.fixture
def late():
    yield
    fakes.FakeLog.coming.append("BUG: KASAN: slab-use-after-free")

@rule("state.default")
def test_one(late):
    pass
"""
    )
    assert result.ret == 1
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["actual"] == "BUG: KASAN: slab-use-after-free"


def test_new_taint_fails_the_test_old_taint_does_not(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_one():
    fakes.FakeTaint.flags |= 1 << 9

@rule("state.default")
def test_two():
    pass
"""
    )
    one, two = inner.results
    assert one["failure"]["actual"] == "new taint: W, a warning"
    assert two["outcome"] == "passed"


def test_a_skip_has_its_reason(inner: Inner) -> None:
    source = "@rule('state.default')\ndef test_it(peer):\n    pass\n"
    result = inner.run(source)
    assert result.ret == 0
    (outcome,) = inner.results
    assert outcome["outcome"] == "skipped"
    assert outcome["skip"] == "this needs a second function of the same kind: give --vfio-peer BDF"


def test_no_skips(inner: Inner) -> None:
    source = "@rule('state.default')\ndef test_it(peer):\n    pass\n"
    result = inner.run(source, "--vfio-no-skips")
    assert result.ret == 1
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["actual"].startswith("skipped: this needs a second function")


def test_outcomes_of_free_rules(inner: Inner) -> None:
    inner.run(
        """
@rule("state.arc-free.0-2")
def test_free(observe):
    observe("state.arc-free.0-2", "refused")

@rule("state.arc-free.0-2")
def test_unlisted(observe):
    observe("state.arc-free.0-2", "ignored")

@rule("state.default")
def test_not_free(observe):
    observe("state.default", "taken")
"""
    )
    free, unlisted, not_free = inner.results
    assert free["observed"] == {"state.arc-free.0-2": "refused"}
    assert unlisted["failure"]["expected"] == "taken or refused"
    assert not_free["failure"]["expected"] == "no outcome: the rule is not FREE"


def test_rules_must_be_known_and_named(inner: Inner) -> None:
    result = inner.run(
        """
def test_without():
    pass

@rule("state.typo")
def test_unknown():
    pass
"""
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*test_it.py::test_without names no rule: give it @pytest.mark.rule(ID)",
            "*test_it.py::test_unknown names 'state.typo', which is not in the catalogue",
        ]
    )
    assert [event["event"] for event in inner.events] == ["finish"]


def test_events_go_to_nowhere_without_a_path(inner: Inner) -> None:
    inner.pytester.makepyfile(test_it=HEAD + "@rule('state.default')\ndef test_it(): pass\n")
    result = inner.pytester.runpytest_inprocess("-p", "conformance.plugin", f"--vfio-device={BDF}")
    assert result.ret == 0
    assert not Path(inner.path).exists()


EACH = """
@rule("state.default")
@pytest.mark.parametrize("number", range(4))
def test_it(device, number):
    if number == 1:
        pytest.skip("no")
    assert number != 2
"""


GARBAGE = """
import os

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

before = []

@rule("region.type")
@pytest.mark.parametrize("number", range(20))
def test_leaves_what_only_a_search_finds(number):
    before.append(resident())
    stream = [b"x" * (16 << 20)]
    stream.append(stream)
    assert max(before) - before[0] < 100
"""


def test_duration_is_what_the_test_takes_in_all(inner: Inner) -> None:
    inner.pytester.makepyfile(
        slow="import time\ndef pytest_runtest_makereport(): time.sleep(0.05)  # in each phase"
    )
    inner.pytester.syspathinsert()
    inner.run("@rule('state.default')\ndef test_it(device): pass\n", "-p", "slow")
    (outcome,) = inner.results
    assert outcome["outcome"] == "passed"
    assert outcome["duration"] >= 0.15


def test_terse_session_does_not_hoard_what_tests_leave(inner: Inner) -> None:
    assert inner.run(GARBAGE, "--vfio-terse").ret == pytest.ExitCode.OK
    assert len(inner.results) == 20


def test_terse_session_says_the_same_in_events(inner: Inner) -> None:
    said = []
    for options in ((), ("--vfio-terse",)):
        result = inner.run(EACH, *options, "--vfio-seed=1")
        said.append([{**event, "duration": 0} for event in inner.events])
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert "assert 2 != 2" in str(result.outlines)
    assert said[0] == said[1]
    outcomes = [event["outcome"] for event in inner.results]
    assert outcomes == ["passed", "skipped", "failed", "passed"]
