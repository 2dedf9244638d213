# SPDX-License-Identifier: GPL-2.0-only
"""Every allocation and every copy of a call fails once, on a kernel that can make them fail."""

import os
from collections.abc import Callable
from errno import EBUSY

import pytest

from conformance.kernel import faults
from conformance.migration.stream import Stream, joined
from conformance.migration.v2.client import Client
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.devices import Devices
from conformance.suite.support.binding import driver_of
from conformance.suite.support.cases import named
from conformance.suite.support.failing import (
    Sweep,
    bars_that_read,
    expect_bars,
    expect_bound,
    expect_clean,
    near,
)
from conformance.suite.v2.cases import by_name
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import expect_taken, expect_whole, need_states, state_of
from conformance.vfio import features
from conformance.vfio.device import Device
from conformance.vfio.region import Region

pytestmark = pytest.mark.skipif(bool(faults.missing()), reason=faults.missing() or "no reason")

COPIES = Sweep(faults.USER_COPY)
PIECE = 64
Ask = Callable[[Client], object]


def _read_and_close(fd: int, bars: list[Region]) -> None:
    try:
        expect_bars(fd, bars)
    finally:
        os.close(fd)


@pytest.mark.rule("robust.allocation")
def test_open(client: Client) -> None:
    """Open the device: ENOMEM or success each time, and what could be opened has its registers.

    EBUSY is what PCI's core says where it has no memory to note that a BAR is in use.
    """
    device = client.device
    bars = bars_that_read(device)
    device.close()
    expect_clean(
        lambda: device.group.device_fd(device.bdf),
        did="open the device",
        undo=lambda fd: _read_and_close(fd, bars),
        sweep=near(device, EBUSY),
    )
    device.reopen()
    expect_equal(state_of(client), State.RUNNING, did="open it undisturbed")


@pytest.mark.rule("robust.allocation")
def test_bind(device: Device, devices: Devices) -> None:
    """Bind the function: an error or success each time, and in the end it is bound and runs."""
    driver = driver_of(devices, device.bdf)
    expect_bound(device, devices, driver)
    with Client(devices.ready("device")) as anew:
        expect_whole(anew, anew.save(), did="bind and open undisturbed, save")


@pytest.mark.rule("robust.allocation")
@pytest.mark.parametrize(("old", "new"), by_name(fsm.arcs(fsm.FLAGS)))
def test_set(reach: Reach, client: Client, old: State, new: State) -> None:
    """Set a state: the new state or ENOMEM and the old one, and in the end it is taken."""
    need_states(client, old, new)
    reach(old)
    expect_clean(
        lambda: client.set(new),
        did=f"SET {new.name} in {old.name}",
        probe=lambda: client.state,
        undo=lambda _file: back(reach, client, old),
        sweep=near(client.device),
    )
    expect_taken(client, new, did=f"SET {new.name} undisturbed")


def back(reach: Reach, client: Client, old: State) -> None:
    """Reset the device and bring it to a state again."""
    client.close()
    client.device.reset()
    reach(old)


@pytest.mark.rule("robust.allocation")
def test_reset(reach: Reach, client: Client) -> None:
    """Reset a device that is saved: ENOMEM or success, and in the end it runs."""
    reach(State.STOP_COPY)
    expect_clean(client.device.reset, did="VFIO_DEVICE_RESET")
    expect_equal(state_of(client), State.RUNNING, did="GET after the last reset")


ASKED: dict[str, Ask] = {
    "flags": lambda client: features.migration_flags(client.device),
    "state": lambda client: client.state,
    "precopy-info": lambda client: client.session.precopy_info(),
}


@pytest.mark.rule("robust.user-copy")
@pytest.mark.parametrize("ask", named(ASKED))
def test_copy_of_an_answer(client: Client, ask: Ask) -> None:
    """Ask while the device is saved: EFAULT or the answer, and the state stays."""
    need_states(client, State.PRE_COPY)
    client.set(State.PRE_COPY)
    wanted = ask(client)
    expect_clean(
        lambda: ask(client),
        did="ask for it",
        probe=lambda: client.state,
        undo=lambda now: expect_equal(now, wanted, did="ask for it, with success"),
        sweep=COPIES,
    )


@pytest.mark.rule("robust.user-copy")
def test_copy_of_data_that_is_read(client: Client) -> None:
    """Read data: EFAULT or some of it, and what came in all is a stream that loads."""
    client.set(State.STOP_COPY)
    got: Stream = []
    expect_clean(
        lambda: client.session.read(PIECE),
        did="read data",
        probe=lambda: client.state,
        undo=got.append,
        sweep=COPIES,
    )
    got += client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, got, did="read with copies that fail")


@pytest.mark.rule("robust.user-copy")
def test_copy_of_data_that_is_written(client: Client, stream: Stream) -> None:
    """Write data: EFAULT or some bytes are taken, and the rest makes the stream whole."""
    data, taken = joined(stream), [0]
    client.set(State.RESUMING)

    def note(count: int) -> None:
        taken[0] += count

    expect_clean(
        lambda: client.session.write(data[taken[0] :][:PIECE]),
        did="write data",
        probe=lambda: client.state,
        undo=note,
        sweep=COPIES,
    )
    client.write_all([data[taken[0] :]])
    expect_taken(client, State.RUNNING, did="SET RUNNING after writes with copies that fail")
