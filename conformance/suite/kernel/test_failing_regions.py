# SPDX-License-Identifier: GPL-2.0-only
"""Calls about regions of which every allocation, or every copy, fails once, in either version."""

from functools import partial

import pytest

from conformance.kernel import faults
from conformance.migration.saver import Saver
from conformance.plugin.checks import expect_equal, expect_success
from conformance.suite.support.failing import Sweep, expect_clean
from conformance.vfio.device import Device
from conformance.vfio.memory.mapping import Mapping

pytestmark = pytest.mark.skipif(bool(faults.missing()), reason=faults.missing() or "no reason")

KINDS = [
    pytest.param(kind, id=name, marks=pytest.mark.rule(f"robust.{name}"))
    for name, kind in {"allocation": faults.ALLOCATION, "user-copy": faults.USER_COPY}.items()
]


def expect_whole_answer(whole: bytes, now: bytes) -> None:
    """Demand of an answer, which came with success, that it is the whole of it."""
    __tracebackhide__ = True
    same = now == whole
    expect_equal(same, True, did="GET_REGION_INFO, which succeeds: is the answer whole?")


@pytest.mark.parametrize("kind", KINDS)
def test_region_info(device: Device, saver: Saver, kind: str) -> None:
    """Ask for each region with its capabilities: an errno or the whole answer."""
    for region in device.regions:
        argsz = device.region_info(region.index).argsz
        ask = partial(device.region_info_raw, region.index, argsz)
        whole = ask()
        expect_clean(
            ask,
            did=f"GET_REGION_INFO of {region.name}",
            probe=lambda: saver.stage,
            undo=partial(expect_whole_answer, whole),
            sweep=Sweep(kind),
        )
        expect_equal(ask() == whole, True, did="ask again, undisturbed: is the answer whole?")


@pytest.mark.rule("robust.allocation")
def test_mmap(device: Device, saver: Saver) -> None:
    """Map each area: ENOMEM or a mapping, and nothing of a failed one conflicts with saving."""
    for region in device.regions:
        for area in region.runtime_areas:
            expect_clean(
                partial(region.map_area, area),
                did=f"mmap {region.name} {area}",
                probe=lambda: saver.stage,
                undo=Mapping.close,
            )
    with expect_success(did=f"{saver.words(saver.first)} with nothing mapped"):
        saver.enter(saver.first)
