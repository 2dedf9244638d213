# SPDX-License-Identifier: GPL-2.0-only
"""The saving layout at every transition of version 2: which are judged, which are not."""

import os
from errno import EBUSY, EINVAL

import pytest

from conformance.migration.v2.client import Client
from conformance.migration.v2.vmm import Vmm
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.plugin.devices import Observe
from conformance.suite.conftest import Find
from conformance.suite.support.windows import layout_of
from conformance.suite.v2.cases import (
    by_name,
    by_state,
    entering_saving,
    name_of,
    not_entering_saving,
)
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import (
    expect_refused,
    expect_taken,
    expect_whole,
    need_states,
    state_of,
)
from conformance.vfio import features
from conformance.vfio.memory.mapping import Mapping
from conformance.vfio.region import Region

GROUP = by_state((State.STOP_COPY, State.PRE_COPY, State.PRE_COPY_P2P))


@pytest.mark.rule("saving2.entry")
@pytest.mark.parametrize(("old", "new"), by_name(entering_saving()))
def test_entry(reach: Reach, client: Client, window: Find, old: State, new: State) -> None:
    """Enter the saving group with a conflict mapped: EBUSY; unmap, try at once: it succeeds."""
    need_states(client, old, new)
    found = window("C")
    reach(old)
    with found.map() as mapping:
        expect_refused(client, new, EBUSY, did=f"{name_of(old, new)} with {mapping} mapped")
    expect_taken(client, new, did=f"{name_of(old, new)} with nothing mapped")


@pytest.mark.rule("saving2.never", "saving.only-adding")
@pytest.mark.parametrize(("old", "new"), by_name(not_entering_saving()))
def test_never(
    reach: Reach, saving_regions: list[Region], client: Client, old: State, new: State
) -> None:
    """Set what does not enter the group with as much mapped as can be: as with nothing mapped."""
    need_states(client, old)
    reach(old)
    layouts = [(region, layout_of(region)) for region in saving_regions]
    areas = [(r, a) for r, lay in layouts for a in (lay.free if old.saving else lay.runtime)]
    mappings = [region.map(*area) for region, area in areas]
    did = f"{name_of(old, new)} with {len(areas)} areas mapped"
    if fsm.path(old, new, client.flags) is None:
        expect_refused(client, new, EINVAL, did=did)
    else:
        expect_taken(client, new, did=did)
    for mapping in mappings:
        mapping.close()


@pytest.mark.rule("saving2.refuse")
def test_refused_before_the_first_step(reach: Reach, client: Client, window: Find) -> None:
    """Go from a load to STOP_COPY with a conflict: EBUSY, the load's session is kept."""
    found = window("C")
    file = reach(State.RESUMING).session
    with found.map() as mapping:
        did = f"load, SET STOP_COPY with {mapping} mapped"
        expect_refused(client, State.STOP_COPY, EBUSY, did=did)
    with expect_success(did="write nothing to the data_fd of the load"):
        file.write(b"")
    expect_taken(client, State.RUNNING, did="SET RUNNING: what was loaded counts")


@pytest.mark.rule("saving2.order")
@pytest.mark.parametrize("value", [int(State.ERROR), 8, 0xABCD])
def test_invalid_comes_first(client: Client, conflict: Mapping, value: int) -> None:
    """Set what is no state with a conflict mapped: EINVAL, not EBUSY."""
    expect_refused(client, value, EINVAL, did=f"SET {value:#x} with {conflict} mapped")


@pytest.mark.rule("saving2.late-mmap", "saving2.stop-copy")
@pytest.mark.parametrize("state", GROUP)
def test_late_mapping(reach: Reach, client: Client, window: Find, state: State) -> None:
    """Map a page outside in each saving state: EBUSY; leave the group, map it: it works."""
    need_states(client, state)
    found = window("C")
    reach(state)
    with expect_errno(EBUSY, did=f"mmap a page outside in {state.name}") as call:
        call.result = found.map()
    client.set(State.RUNNING)
    with expect_success(did="mmap the same page in RUNNING"):
        found.map().close()


@pytest.mark.rule("saving2.after-reset")
@pytest.mark.parametrize("state", GROUP)
def test_reset_ends_it(reach: Reach, client: Client, window: Find, state: State) -> None:
    """Reset in each saving state: the page can be mapped again."""
    need_states(client, state)
    found = window("C")
    reach(state)
    client.device.reset()
    with expect_success(did=f"reset in {state.name}, mmap a page outside"):
        found.map().close()


@pytest.mark.rule("saving2.unaware")
def test_unaware_monitor(client: Client, conflict: Mapping, vmm: Vmm) -> None:
    """Save as a monitor that keeps its mappings: it fails with EBUSY, recovers, the device runs."""
    with expect_errno(EBUSY, did=f"save in a monitor's order with {conflict} mapped"):
        vmm.save()
    now = state_of(client)
    good = now in (State.RUNNING, State.STOP)
    expect_true(good, did="GET after its recovery", expected="RUNNING or STOP", actual=now.name)
    vmm.start()
    expect_equal(state_of(client), State.RUNNING, did="let the machine go on")


@pytest.mark.rule("saving2.discovery")
def test_no_flag_for_it(client: Client, saving_regions: list[Region]) -> None:
    """GET the flags of a device with the saving layout: none but the known ones."""
    expect_equal(client.flags & ~fsm.FLAGS, 0, did=f"GET MIGRATION, {len(saving_regions)} layouts")


@pytest.mark.rule("saving2.dmabuf")
def test_dma_buf(client: Client, window: Find, observe: Observe) -> None:
    """Make a dma-buf of a page outside, SET STOP_COPY: refused or not, or none can be made."""
    found = window("C")
    try:
        fd = features.dma_buf(client.device, found.region.index, found.offset, found.size)
    except OSError:
        observe("saving2.dmabuf", "no dma-buf")
        return
    try:
        errno = client.attempt(State.STOP_COPY)
    finally:
        os.close(fd)
    expect_true(errno in (None, EBUSY), did="SET STOP_COPY", expected="EBUSY", actual=str(errno))
    observe("saving2.dmabuf", "does not count" if errno is None else "counts")


@pytest.mark.rule("saving2.refuse")
def test_save_after_refusals(client: Client, window: Find) -> None:
    """Be refused ten times, unmap, save: the stream is whole."""
    with window("C").map():
        refused = [client.attempt(State.STOP_COPY) for _ in range(10)]
    expect_equal(refused, [EBUSY] * 10, did="SET STOP_COPY ten times with a conflict mapped")
    expect_whole(client, client.save(), did="be refused, unmap, save")
