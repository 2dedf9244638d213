# SPDX-License-Identifier: GPL-2.0-only
"""What tests of the saving layout look at."""

import pytest

from conformance.model.layout import PAGE
from conformance.plugin.declared import Scratch
from conformance.suite.support.receiving import need_82576
from conformance.suite.support.windows import layout_of
from conformance.vfio.receiving.receiver import Receiver
from conformance.vfio.region import Region


@pytest.fixture
def trapped_places(scratch: list[Scratch], conflicting_regions: list[Region]) -> list[Scratch]:
    """Return the registers that may be written and lie in a trapped range; skips without one."""
    layouts = {region.index: layout_of(region) for region in conflicting_regions}
    places = []
    for place in scratch:
        layout = layouts.get(place.region.index)
        if layout and layout.conflicts((place.offset - place.offset % PAGE, PAGE)):
            places.append(place)
    if not places:
        pytest.skip("none of the registers that may be written lies in a trapped range")
    return places


@pytest.fixture
def trapped_place(trapped_places: list[Scratch]) -> Scratch:
    """Choose a register that may be written and lies in a trapped range; skips without one."""
    return trapped_places[0]


@pytest.fixture
def on_82576(receiver: Receiver) -> None:
    """Skip other devices, whose registers are others."""
    need_82576(receiver)
