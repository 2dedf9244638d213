# SPDX-License-Identifier: GPL-2.0-only
"""Processes that map, hold, unmap and die on command."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.plugin.checks import RequirementFailed, fail
from conformance.tests.plugin.raising import raises_errno
from conformance.tests.vfio.fake_device import PAGE, FakeDevice
from conformance.vfio import trace
from conformance.vfio.children import children
from conformance.vfio.children.children import Child, fork_child, kill_leftovers, sleeping_program
from conformance.vfio.errors import (
    ChildDied,
    ChildError,
    ChildTimeout,
    ModuleLoadError,
    ShortTransfer,
)
from conformance.vfio.memory.areas import Area
from conformance.vfio.region import Region


@pytest.fixture
def bar() -> Iterator[Region]:
    with FakeDevice() as device:
        yield device.region(0)


@pytest.fixture
def child() -> Iterator[Child]:
    with fork_child() as child:
        yield child


def _maps(pid: int) -> int:
    """Pages of the device that a process has mapped, -1 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    ranges = (line.split()[0].split("-") for line in lines if "fake-device" in line)
    return sum(int(end, 16) - int(start, 16) for start, end in ranges) // PAGE


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_call_returns_its_value(child: Child) -> None:
    assert child.call(os.getpid) == child.pid


def test_a_call_raises_what_was_raised_there(child: Child) -> None:
    with raises_errno(errno.EBADF):
        child.call(os.close, 9999)


def _run_short() -> None:
    raise ShortTransfer("read BAR0", wanted=4, moved=2)


def _refuse_to_load() -> None:
    raise ModuleLoadError("no", ("kernel: no",))


def _break_a_rule() -> None:
    fail("group.rule", did="map", expected="success", actual="EBUSY")


class OddError(Exception):
    """Cannot be made again from its message."""

    def __init__(self, *, number: int) -> None:
        super().__init__(f"odd {number}")


def _be_odd() -> None:
    raise OddError(number=3)


def test_our_own_errors_come_whole(child: Child) -> None:
    with pytest.raises(ShortTransfer, match="read BAR0 moved 2 of 4") as short:
        child.call(_run_short)
    assert (short.value.wanted, short.value.moved) == (4, 2)
    with pytest.raises(ModuleLoadError) as load:
        child.call(_refuse_to_load)
    assert load.value.klog == ("kernel: no",)
    with pytest.raises(RequirementFailed) as broken:
        child.call(_break_a_rule)
    assert (broken.value.rule, broken.value.actual) == ("group.rule", "EBUSY")


def test_an_error_that_cannot_be_sent_is_reported(child: Child) -> None:
    with pytest.raises(ChildError, match="odd 3"):
        child.call(_be_odd)


def test_a_value_that_cannot_be_sent(child: Child) -> None:
    with pytest.raises(ChildError, match="cannot be sent"):
        child.call(memoryview, b"x")
    assert child.call(os.getpid) == child.pid


def test_map_and_unmap_there(bar: Region, child: Child) -> None:
    # The device was opened before the fork.
    mapping = child.map(bar, PAGE, 2 * PAGE)
    mapping.store(4, 77)
    assert bar.read_int(PAGE + 4) == 77
    assert mapping.load(4) == 77
    assert _maps(child.pid) == 2
    assert _maps(os.getpid()) == 0
    mapping.munmap(0, PAGE)
    assert _maps(child.pid) == 1
    assert mapping.do("is_mapped", PAGE, PAGE)
    mapping.mprotect(PAGE, PAGE, 1)
    mapping.munmap()
    assert _maps(child.pid) == 0


def test_an_inherited_mapping_is_unmapped_there_and_kept_here(bar: Region) -> None:
    with bar.map(0, 4 * PAGE) as mapping, fork_child() as child:
        assert _maps(child.pid) == 4
        theirs = child.adopt(mapping)
        theirs.munmap(PAGE, PAGE)
        assert _maps(child.pid) == 3
        child.call(mapping.munmap)
        assert _maps(child.pid) == 0
        assert mapping.left == (Area(0, 4 * PAGE),)


def test_calls_made_there_are_in_the_trace(bar: Region, child: Child) -> None:
    trace.start()
    child.map(bar, 0, PAGE)
    assert trace.lines() == [f"process {child.pid}: mmap BAR0 [0x0, 0x1000) = ok"]


def test_a_descriptor_is_passed(child: Child) -> None:
    with FakeDevice() as late:
        number = child.send_fd(late.fd)
        mapping = child.map(late.region(0), 0, PAGE, fd=number)
        child.close_fd(number)
        assert mapping.load(0) == 0
        assert _maps(child.pid) == 1


def test_exit(bar: Region) -> None:
    with bar.map(0, PAGE):
        child = fork_child()
        child.exit()
        assert child.dead(0)
        child.close()
    assert _gone(child.pid)


def test_kill(child: Child) -> None:
    child.kill()
    assert child.dead(0)
    with pytest.raises(ChildDied):
        child.call(os.getpid)


def test_exec_drops_the_mappings(bar: Region) -> None:
    with bar.map(0, PAGE), fork_child() as child:
        assert _maps(child.pid) == 1
        child.exec()
        assert not child.dead(0)
        assert _maps(child.pid) == 0
        child.kill()


def test_a_grandchild_outlives_its_parent(bar: Region) -> None:
    with bar.map(0, PAGE), fork_child() as child, child.fork() as grandchild:
        assert grandchild.call(os.getppid) == child.pid
        child.kill()
        assert not grandchild.dead(0)
        assert _maps(grandchild.pid) == 1
        grandchild.exit()
        assert grandchild.dead(0)


def test_a_great_grandchild(child: Child) -> None:
    with child.fork() as second, second.fork() as third:
        assert third.call(os.getppid) == second.pid


def test_a_program_started_there_dies_with_it(bar: Region) -> None:
    with bar.map(0, PAGE), fork_child() as child:
        pid = child.vfork_exec()
        assert _maps(pid) == 0
        assert not _gone(pid)
        child.exit()
    deadline = time.monotonic() + 5
    while _maps(pid) != -1 and not _zombie(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _maps(pid) == -1 or _zombie(pid)


def _zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_program_of_our_own(bar: Region) -> None:
    with bar.map(0, PAGE), sleeping_program(pass_fds=(bar.device.fd,)) as pid:
        assert _maps(pid) == 0
        assert Path(f"/proc/{pid}/fd/{bar.device.fd}").exists()
    assert _gone(pid)


def test_a_child_that_hangs_is_killed(child: Child) -> None:
    with pytest.raises(ChildTimeout, match=r"did not answer sleep\(60,\) within 0.2 s"):
        child.call(time.sleep, 60, timeout=0.2)
    assert child.dead(0)


def test_closing_one_leaves_the_others() -> None:
    # A child that held a copy of its sibling's socket would keep that one alive.
    with fork_child() as first, fork_child() as second:
        first.exit()
        assert first.dead(0)
        assert second.call(os.getpid) == second.pid


def test_what_is_left_over_is_ended() -> None:
    child = fork_child()
    grandchild = child.fork()
    assert kill_leftovers() == 2
    assert _gone(child.pid)
    assert grandchild.pid not in children._living
    assert kill_leftovers() == 0
    child.close()


def test_no_sleep_program(monkeypatch: pytest.MonkeyPatch, child: Child) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(ChildError, match="coreutils"):
        child.exec()


def test_exec_of_nothing(monkeypatch: pytest.MonkeyPatch, child: Child) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: "/nowhere/sleep")
    with pytest.raises(ChildError, match="could not exec"):
        child.exec()
