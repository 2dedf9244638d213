# SPDX-License-Identifier: GPL-2.0-only
"""The saving layout at every transition of version 1: which are judged, which are not."""

from errno import EBUSY

import pytest

from conformance.model.v1.states import State, Verdict, verdict
from conformance.plugin.checks import errno_words, expect_true
from conformance.suite.conftest import Find
from conformance.suite.support.windows import layout_of
from conformance.suite.v1.cases import (
    adding_saving_freely,
    arcs_by_name,
    name_of,
    not_adding_saving,
)
from conformance.suite.v1.conftest import Reach
from conformance.suite.v1.steps import attempt, expect_after_failure, to_running
from conformance.vfio.region import Region


@pytest.mark.rule("saving.refuse")
@pytest.mark.parametrize(("old", "new"), arcs_by_name(adding_saving_freely()))
def test_refuse_where_offered(reach: Reach, window: Find, old: State, new: int) -> None:
    """Add _SAVING by an arc that is not drawn, unmapped, then mapped: never taken when mapped."""
    found, migration = window("C"), reach(old)
    offered = attempt(migration, new) is None
    to_running(migration)
    reach(old)
    with found.map() as mapping:
        did = f"{name_of(old, new)} with {mapping} mapped"
        refused = attempt(migration, new)
        good = refused == EBUSY or (refused and not offered)
        wanted = "EBUSY" if offered else "an error"
        expect_true(good, did=did, expected=wanted, actual=errno_words(refused))
        expect_after_failure(migration, old, did=f"{did}, read device_state")


@pytest.mark.rule("saving.only-adding")
@pytest.mark.parametrize(("old", "new"), arcs_by_name(not_adding_saving()))
def test_only_adding(reach: Reach, saving_regions: list[Region], old: State, new: int) -> None:
    """Write what does not add _SAVING with as much mapped as can be: not refused for that."""
    migration = reach(old)
    layouts = [(region, layout_of(region)) for region in saving_regions]
    areas = [
        (r, a) for r, layout in layouts for a in (layout.free if old.saving else layout.runtime)
    ]
    mappings = [region.map(*area) for region, area in areas]
    refused = attempt(migration, new)
    did = f"{old:d}->{new} with {len(areas)} areas mapped"
    for_mappings = refused == EBUSY or (refused and verdict(old, new) is Verdict.MUST)
    expect_true(not for_mappings, did=did, expected="no refusal", actual=errno_words(refused))
    for mapping in mappings:
        mapping.close()
