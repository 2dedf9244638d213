# SPDX-License-Identifier: GPL-2.0-only
"""The clients of version 2, on a device in user space."""

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from conformance.migration.errors import StateError
from conformance.migration.saver import Stage
from conformance.migration.stream import joined
from conformance.migration.v2.client import Client
from conformance.migration.v2.saver import FeatureSaver
from conformance.migration.v2.states import State
from conformance.migration.v2.vmm import SmallVmm, Vmm
from conformance.tests.plugin.raising import raises_errno
from conformance.tests.vfio.fake_v2 import FakeV2
from conformance.vfio import features, trace


@pytest.fixture
def device() -> Iterator[FakeV2]:
    trace.start()
    with FakeV2() as device:
        device.region(0).write_int(8, 0x1234)
        yield device


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the states that are set, in their order."""
    seen: list[int] = []
    call = features.set_state

    def note(device: Any, state: int) -> Any:
        seen.append(state)
        return call(device, state)

    monkeypatch.setattr(features, "set_state", note)
    return seen


def test_a_save_can_be_loaded(device: FakeV2) -> None:
    with Client(device) as client:
        stream = client.save()
        device.region(0).write_int(8, 0)
        client.load([joined(stream)[:5], joined(stream)[5:]])
        assert client.state == State.RUNNING
    assert device.region(0).read_int(8) == 0x1234


def test_an_attempt_tells_the_errno(device: FakeV2) -> None:
    with Client(device) as client:
        assert client.attempt(8) == errno.EINVAL
        assert client.attempt(State.STOP) is None


def test_a_client_closes_what_it_was_given(device: FakeV2) -> None:
    with Client(device) as client:
        files = [client.set(state) for state in (State.STOP_COPY, State.RESUMING)]
    assert [file.fd if file else None for file in files] == [-1, -1]


def test_a_session_must_have_begun(device: FakeV2) -> None:
    with pytest.raises(AssertionError, match="no session"):
        Client(device).session.read(1)


def test_stages_of_a_saver(device: FakeV2) -> None:
    saver = FeatureSaver(device)
    assert not saver.offers(Stage.PRE_COPY)
    assert saver.first is Stage.STOP_COPY
    for stage in (Stage.STOPPED, Stage.RUNNING, Stage.STOP_COPY):
        assert saver.reach(stage).stage is stage
        saver.enter(Stage.RUNNING)
    assert saver.reach(Stage.RESUMING).stage is Stage.RESUMING
    saver.enter(Stage.RUNNING)
    assert saver.words(Stage.STOP_COPY) == "SET STOP_COPY"
    device.mig = State.ERROR
    assert saver.stage is None
    saver.close()


def test_the_order_of_a_monitor(device: FakeV2, sets: list[int]) -> None:
    vmm = Vmm(device)
    stream = vmm.save()
    vmm.load(stream)
    vmm.start()
    assert sets == [
        State.RUNNING_P2P,
        State.STOP,
        State.STOP_COPY,
        State.STOP,
        State.RESUMING,
        State.RUNNING_P2P,
        State.RUNNING,
    ]


def test_a_small_monitor_knows_no_p2p(device: FakeV2, sets: list[int]) -> None:
    vmm = SmallVmm(device)
    vmm.save()
    vmm.start()
    assert sets == [State.STOP, State.STOP_COPY, State.STOP, State.RUNNING]


def test_a_monitor_learns_of_a_bad_stream_when_it_starts(device: FakeV2) -> None:
    vmm = Vmm(device)
    vmm.load([b"no stream"])
    with raises_errno(errno.EINVAL):
        vmm.start()
    assert device.resets == 1
    assert vmm.state == State.RUNNING


def test_a_monitor_recovers_to_the_state_that_it_named(device: FakeV2, sets: list[int]) -> None:
    vmm = Vmm(device)
    with raises_errno(errno.EINVAL):
        vmm.set_state(8, State.STOP)
    assert sets == [8, State.STOP]
    assert (vmm.state, device.resets) == (State.STOP, 0)


def test_a_second_descriptor_is_out_of_sync(device: FakeV2) -> None:
    vmm = Vmm(device)
    vmm.set_state(State.STOP_COPY, State.ERROR)
    with pytest.raises(StateError, match="out of sync"):
        vmm.set_state(State.RESUMING, State.ERROR)
    vmm.close()


def test_a_monitor_gives_up(device: FakeV2) -> None:
    vmm = Vmm(device)
    vmm.stop()
    vmm.give_up()
    assert device.mig == State.RUNNING
