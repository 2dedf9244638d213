# SPDX-License-Identifier: GPL-2.0-only
"""Every allocation and every copy of a call fails once, on a kernel that can make them fail."""

import os
from errno import EBUSY

import pytest

from conformance.kernel import faults
from conformance.migration.v1.client import Client
from conformance.migration.v1.region import DEVICE_STATE, PENDING_BYTES, Field
from conformance.model.v1.states import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.devices import Devices
from conformance.suite.support.cases import named
from conformance.suite.support.failing import (
    NEAR,
    Sweep,
    bars_that_read,
    expect_bars,
    expect_bound,
    expect_clean,
)
from conformance.suite.v1.cases import MUST_ARCS, arcs_by_name
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import expect_taken
from conformance.vfio.device import Device
from conformance.vfio.region import Region
from conformance.vfio.system import sysfs

pytestmark = pytest.mark.skipif(bool(faults.missing()), reason=faults.missing() or "no reason")

COPIES = Sweep(faults.USER_COPY)
KINDS = named({"allocation": faults.ALLOCATION, "copy": faults.USER_COPY})


def _use_and_close(fd: int, at: int, bars: list[Region]) -> None:
    """Read its BARs and save the device a little by its descriptor, so that it needs them."""
    try:
        expect_bars(fd, bars)
        for state in (State.STOP_AND_COPY, State.RUNNING):
            os.pwrite(fd, state.to_bytes(4, "little"), at)
    finally:
        os.close(fd)


@pytest.mark.rule("robust.allocation")
@pytest.mark.parametrize("depth", named({"every": 0, "near": NEAR}))
def test_open(device: Device, devices: Devices, depth: int) -> None:
    """Open the device: ENOMEM or success each time, and what could be opened can be used.

    EBUSY is what PCI's core says where it has no memory to note that a BAR is in use. How many
    allocations there are differs a little each time, but not of those near to the driver.
    """
    module = sysfs.module(sysfs.driver(device.bdf) or "") if depth else None
    within = faults.module_text(module) if module else None
    state = devices.migration_of(device).region.offset + DEVICE_STATE.offset
    bars = bars_that_read(device)
    device.close()
    expect_clean(
        lambda: device.group.device_fd(device.bdf),
        did="open the device",
        undo=lambda fd: _use_and_close(fd, state, bars),
        sweep=Sweep(within=within, depth=depth or 32, errnos=(EBUSY,)),
    )
    device.reopen()
    expect_equal(devices.migration_of(device).state, State.RUNNING, did="open it undisturbed")


@pytest.mark.rule("robust.allocation")
def test_bind(device: Device, devices: Devices) -> None:
    """Bind the function: an error or success each time, and in the end it is bound and runs."""
    if devices.settings.as_is:
        pytest.skip("the function is judged as it is bound, so it is not bound anew")
    driver = sysfs.driver(device.bdf) or ""
    if not sysfs.module(driver):
        pytest.skip("the driver is built in: no module to look below")
    expect_bound(device, devices, driver)
    migration = devices.migration_of(devices.ready("device"))
    expect_equal(migration.state, State.RUNNING, did="bind and open undisturbed")


@pytest.mark.rule("robust.allocation")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("old", "new"), arcs_by_name(MUST_ARCS))
def test_state(reach: Reach, kind: str, old: State, new: State) -> None:
    """Change the state: the new state or the old one, and in the end the write is taken."""
    migration = reach(old)

    def back(_result: None) -> None:
        migration.device.reset()
        reach(old)

    expect_clean(
        lambda: migration.set_state(new),
        did=f"write {new:d} in state {old:d}",
        probe=lambda: migration.state,
        undo=back,
        sweep=Sweep(kind),
    )
    expect_taken(migration, new, why="undisturbed")


@pytest.mark.rule("robust.allocation")
def test_reset(reach: Reach) -> None:
    """Reset a device that is saving: ENOMEM or success, and in the end it runs."""
    migration = reach(State.STOP_AND_COPY)
    expect_clean(migration.device.reset, did="VFIO_DEVICE_RESET")
    expect_equal(migration.state, State.RUNNING, did="read device_state after the last reset")


@pytest.mark.rule("robust.user-copy")
@pytest.mark.parametrize("field", named({"device_state": DEVICE_STATE, "pending": PENDING_BYTES}))
def test_copy_of_a_field(reach: Reach, field: Field) -> None:
    """Read a field while saving: EFAULT or its value, and the state stays."""
    migration = reach(State.STOP_AND_COPY)
    value = migration.read_field(field)
    expect_clean(
        lambda: migration.read_field(field),
        did=f"read {field.name}",
        probe=lambda: migration.state,
        undo=lambda now: expect_equal(now, value, did=f"read {field.name} with success"),
        sweep=COPIES,
    )


@pytest.mark.rule("robust.user-copy")
def test_copy_of_data(client: Client, stream: list[bytes]) -> None:
    """Read and write the data section: EFAULT or all bytes, and the stream is taken after it."""
    migration = client.migration
    migration.set_state(State.RESUMING)
    offset = migration.data_offset
    for did, call in {
        "read data": lambda: migration.region.read_exact(offset, 64),
        "write data": lambda: migration.region.write_exact(offset, bytes(64)),
    }.items():
        expect_clean(call, did=did, probe=lambda: migration.state, sweep=COPIES)
    client.write_all(stream)
    expect_taken(migration, State.RUNNING, why="after the whole stream was given")
