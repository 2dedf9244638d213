# SPDX-License-Identifier: GPL-2.0-only
"""Tests that run in parallel, each worker on its own pair of functions."""

import os

import pytest

from conformance.events.kinds import Session
from conformance.events.stream import parse
from conformance.plugin import workers
from conformance.tests.plugin.inner import PEER, Inner

pytest_plugins = ["pytester"]

PAIR = "--vfio-pair=0000:01:10.4,0000:01:10.6"
SOURCE = """
import os
import time

@rule("state.default")
@pytest.mark.parametrize("number", range(44))
def test_it(device, number):
    time.sleep(0.01)
    assert number != 7, f"by process {os.getpid()}"
    assert number != 8, f"by process {os.getpid()}"

@rule("region.type")
def test_device(devices):
    assert devices.settings.device in ("0000:01:10.0", "0000:01:10.4")
"""
ALONE = """
@pytest.mark.alone
@rule("region.type")
def test_alone():
    pass
"""


def test_every_test_runs_once(inner: Inner) -> None:
    result = inner.run(SOURCE, f"--vfio-peer={PEER}", PAIR, "--capture=no")
    events = [parse(event) for event in inner.events]
    session = next(event for event in events if isinstance(event, Session))
    assert (result.ret, session.workers, session.collected) == (1, 2, 45)
    assert len({event["id"] for event in inner.results}) == len(inner.results) == 45
    assert inner.events[-1]["event"] == "finish"


def test_what_runs_alone_runs_last(inner: Inner) -> None:
    inner.run(ALONE + SOURCE, f"--vfio-peer={PEER}", PAIR, "--capture=no")
    events = [event for event in inner.events if event["event"] in ("start", "result")]
    assert [event["id"].partition("::")[2] for event in events[-2:]] == ["test_alone"] * 2
    assert len(inner.results) == 46


def test_failures_are_reported_by_those_who_saw_them(inner: Inner) -> None:
    inner.run(SOURCE, f"--vfio-peer={PEER}", PAIR, "--capture=no")
    failed = [event["failure"]["message"] for event in inner.results if event["failure"]]
    pids = {message.partition("by process ")[2].split()[0] for message in failed}
    assert len(failed) == len(pids) == 2
    assert str(os.getpid()) not in pids


def test_the_first_failure_ends_all_workers_if_that_is_asked_for(inner: Inner) -> None:
    source = SOURCE.replace("range(44)", "range(400)").replace("sleep(0.01)", "sleep(0.005)")
    result = inner.run(source, f"--vfio-peer={PEER}", PAIR, "--capture=no", "--exitfirst")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert 1 <= len([event for event in inner.results if event["failure"]]) <= 2
    assert len(inner.results) < 100


def test_a_worker_that_dies_is_an_error(inner: Inner) -> None:
    source = SOURCE + "\n@rule('region.type')\ndef test_dies(): os.kill(os.getpid(), 9)\n"
    result = inner.run(source, f"--vfio-peer={PEER}", PAIR, "--capture=no")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "1 of 2 workers died: killed; the log of the kernel says" in "\n".join(result.outlines)


def test_where_a_worker_dies_the_others_come_to_their_end(inner: Inner) -> None:
    source = """
import os, time

@rule("region.type")
@pytest.mark.parametrize("number", range(44))
def test_it(devices, number):
    if devices.settings.device == "0000:01:10.0":
        os.kill(os.getpid(), 9)
    time.sleep(0.02)
"""
    inner.run(source, f"--vfio-peer={PEER}", PAIR, "--capture=no")
    # The one that died had begun a test, and taken the next one.
    assert [event["event"] for event in inner.events].count("start") == 43
    assert [event["outcome"] for event in inner.results] == ["passed"] * 42


def test_an_idle_worker_takes_over_from_the_longest_hand(inner: Inner) -> None:
    """The tests of the first worker take long: the second one runs most of them, from the end."""
    source = """
import time

@rule("region.type")
@pytest.mark.parametrize("number", range(44))
def test_it(devices, number):
    time.sleep(0.1 * (devices.settings.device == "0000:01:10.0"))
"""
    assert inner.run(source, f"--vfio-peer={PEER}", PAIR, "--capture=no").ret == 0
    slow = [event for event in inner.results if event["duration"] > 0.1]
    assert len(inner.results) == len({event["id"] for event in inner.results}) == 44
    assert 2 <= len(slow) <= 12


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--vfio-pair=0000:01:10.4", "not two devices"),
        (f"--vfio-pair=0000:01:10.4,{PEER}", "given twice"),
    ],
)
def test_bad_pairs(inner: Inner, option: str, said: str) -> None:
    result = inner.run(SOURCE, f"--vfio-peer={PEER}", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in "\n".join([*result.errlines, *result.outlines])


@pytest.mark.parametrize(("tests", "expected"), [(1, 1), (39, 1), (40, 2), (1000, 3)])
def test_few_tests_need_few_workers(tests: int, expected: int) -> None:
    assert workers.count([("a", "b"), ("c", "d"), ("e", "f")], tests) == expected
