# SPDX-License-Identifier: GPL-2.0-only
"""What is left after a transition was refused or has failed."""

import contextlib
import os
import resource
from collections.abc import Iterator
from errno import EFAULT, EMFILE
from pathlib import Path

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.model.layout import PAGE
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_true
from conformance.suite.support.memory import read_only
from conformance.suite.v2.cases import by_name, by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import (
    SPARED,
    expect_taken,
    expect_whole,
    lives,
    need_states,
    open_files,
    state_of,
)
from conformance.uapi import constants as c
from conformance.uapi import structs
from conformance.vfio import features

#: Transitions that give a data_fd, on a device with all flags.
GIVING = [(old, new) for old in State for new in State if fsm.begins_session(old, new, fsm.FLAGS)]
LEAVING = [(State.RESUMING, new) for new in State if new not in (State.ERROR, State.RESUMING)]
SET_STATE = c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Use up all descriptors of this process for a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def failed_load(client: Client, new: State) -> structs.vfio_device_feature_mig_state:
    """Leave RESUMING though nothing was sent; return the argument as the kernel left it."""
    client.set(State.RESUMING)
    argument = structs.vfio_device_feature_mig_state(device_state=new, data_fd=77)
    with expect_errno(did=f"leave RESUMING for {new.name} though nothing was sent"):
        features.set_state_raw(client.device, argument)
    return argument


@pytest.mark.rule("error.reported")
@pytest.mark.parametrize("value", [State.ERROR, 8, 0xABCD])
def test_refusal_gives_no_descriptor(client: Client, value: int) -> None:
    """Be refused: an errno, data_fd comes back as -1, no descriptor is opened."""
    before = open_files()
    argument = structs.vfio_device_feature_mig_state(device_state=value, data_fd=77)
    with expect_errno(did=f"SET {value:#x}"):
        features.set_state_raw(client.device, argument)
    expect_true(
        argument.data_fd in (-1, 77),
        did=f"SET {value:#x}, look at data_fd",
        expected="-1, or not written",
        actual=str(argument.data_fd),
    )
    expect_equal(open_files(), before, did=f"SET {value:#x}, count open descriptors")


@pytest.mark.rule("error.reported")
@pytest.mark.parametrize(("old", "new"), by_name(LEAVING))
@pytest.mark.usefixtures("stream")
def test_failed_load_gives_no_descriptor(client: Client, old: State, new: State) -> None:
    """Leave RESUMING though nothing was sent: an errno, data_fd is -1, nothing is opened."""
    need_states(client, new)
    before = open_files()
    argument = failed_load(client, new)
    expect_equal(argument.data_fd, -1, did=f"{old.name} to {new.name} fails, look at data_fd")
    expect_equal(open_files(), before + 1, did="count open descriptors, with that of the load")


@pytest.mark.rule("error.on-path")
@pytest.mark.parametrize(("old", "new"), by_name(LEAVING))
@pytest.mark.usefixtures("stream")
def test_failed_combination(client: Client, old: State, new: State) -> None:
    """Leave RESUMING though nothing was sent: a state on the path, with its session, or ERROR."""
    need_states(client, new)
    failed_load(client, new)
    now, allowed = state_of(client), fsm.after_failure(old, new, client.flags)
    expected = " or ".join(state.name for state in allowed)
    expect_true(now in allowed, did="GET after that", expected=expected, actual=now.name)
    if now is State.RESUMING and "stale-write" not in SPARED:
        gone = lives(client.session) is False
        expect_true(not gone, did="write to the data_fd", expected="a load", actual="ENODEV")


@pytest.mark.rule("error.recoverable")
@pytest.mark.parametrize("new", by_state((State.STOP, State.RUNNING, State.STOP_COPY)))
def test_recover(client: Client, stream: Stream, new: State) -> None:
    """Fail a load, go on from what is shown, or reset: the device can be saved and loaded."""
    failed_load(client, new)
    client.close()
    if state_of(client) is State.ERROR or client.attempt(State.RUNNING):
        client.device.reset()
    expect_equal(state_of(client), State.RUNNING, did="recover from a failed load")
    expect_whole(client, stream, did="recover from a failed load")
    expect_whole(client, client.save(), did="save after that")


@pytest.mark.rule("error.sticky")
@pytest.mark.parametrize("new", by_state(tuple(state for state in State if state)))
def test_error_is_left_by_no_set(reach: Reach, client: Client, new: State) -> None:
    """Set any state in ERROR: an error each time, until a reset, which gives RUNNING."""
    reach(State.ERROR)
    with expect_errno(did=f"SET {new.name} in ERROR"):
        client.set(new)
    expect_equal(state_of(client), State.ERROR, did=f"SET {new.name} in ERROR, then GET")
    client.device.reset()
    expect_equal(state_of(client), State.RUNNING, did="reset in ERROR, then GET")


@pytest.mark.rule("error.lost-fd")
@pytest.mark.parametrize(("old", "new"), by_name(GIVING))
def test_no_descriptor_to_be_had(reach: Reach, client: Client, old: State, new: State) -> None:
    """Begin a session with no descriptor left: EMFILE, nothing leaks, the next one is whole."""
    need_states(client, old, new)
    reach(old)
    before = open_files()
    with no_descriptor_left(), expect_errno(EMFILE, did=f"SET {new.name}, no descriptor left"):
        client.set(new)
    expect_none_leaked(before)
    recover_and_save(client)


@pytest.mark.rule("error.lost-fd")
@pytest.mark.parametrize(("old", "new"), by_name(GIVING))
def test_answer_that_cannot_be_written(
    reach: Reach, client: Client, old: State, new: State
) -> None:
    """Begin a session with a read-only argument: EFAULT, nothing leaks, the next one is whole."""
    need_states(client, old, new)
    reach(old)
    before = open_files()
    head = structs.vfio_device_feature(argsz=16, flags=SET_STATE)
    argument = bytes(head) + bytes(structs.vfio_device_feature_mig_state(new, -1))
    with read_only(argument) as address, expect_errno(EFAULT, did=f"SET {new.name}, read-only"):
        client.device.feature_at(address)
    expect_none_leaked(before)
    recover_and_save(client)


def expect_none_leaked(before: int) -> None:
    """Demand that no more descriptors are open than before."""
    __tracebackhide__ = True
    now = open_files()
    did = "count open descriptors after that"
    expect_true(now <= before, did=did, expected=f"{before} or fewer", actual=str(now))


def recover_and_save(client: Client) -> None:
    """Demand that STOP and RUNNING can be set, or a reset does it, and a whole session comes."""
    if client.attempt(State.STOP):
        client.device.reset()
    expect_taken(client, State.RUNNING)
    expect_whole(client, client.save(), did="save after that")


@pytest.mark.rule("error.clean")
def test_nothing_is_too_odd(reach: Reach, client: Client) -> None:
    """Call the ioctl in odd ways in every state: no report of the kernel, the state stays."""
    for state in fsm.states(client.flags):
        reach(state)
        for number in (*range(16), 0xFFFF):
            for flags in (0, 1, 2, 3, 4, 5, 6, 7, 0x1FFF):
                data = bytearray(b"\xff" * 64)
                if number != 3 and (number, flags & 2) != (4, 2):  # not low power
                    with contextlib.suppress(OSError):
                        client.device.feature(flags << 16 | number, data)
        expect_equal(state_of(client), state, did=f"odd calls in {state.name}, then GET")
        client.go(State.RUNNING)


@pytest.mark.rule("error.clean")
def test_regions_have_an_end(client: Client) -> None:
    """Read at and across the end of all regions, map there: no report of the kernel, no mapping."""
    for region in client.device.regions:
        end = region.size
        for at, size in ((end, 4), (max(end - 2, 0), 8), (end + PAGE, PAGE), (end * 2 + 1, 1)):
            with contextlib.suppress(OSError):
                region.read(at, size)
        for at, size in ((end, PAGE), (max(end - PAGE, 0), 2 * PAGE)):
            if region.mappable:
                with expect_errno(did=f"mmap {region.name} [{at:#x}, {at + size:#x})") as call:
                    call.result = region.map(at, size)
    expect_equal(state_of(client), State.RUNNING, did="that, then GET")
