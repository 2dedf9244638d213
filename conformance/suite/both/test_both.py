# SPDX-License-Identifier: GPL-2.0-only
"""A device with both versions: the first that changes its state holds it, the other is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from errno import EBUSY, EINVAL

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.migration.stream import total
from conformance.migration.v1.region import MigrationRegion
from conformance.migration.v1.saver import RegionSaver
from conformance.migration.v2.saver import FeatureSaver
from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.plugin.devices import Observe
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.cases import by_stage
from conformance.vfio import features, offers
from conformance.vfio.device import Device

AWAY = pytest.mark.parametrize("stage", by_stage(one for one in Stage if one is not Stage.RUNNING))


@dataclass(frozen=True)
class Pair:
    """The two versions: the one that comes first to the running device, and the other."""

    first: Saver
    other: Saver
    name: str


@pytest.fixture(params=["region-first", "feature-first"])
def pair(request: pytest.FixtureRequest, device: Device) -> Iterator[Pair]:
    """Provide both versions on the running device, held by neither; it is reset at the end."""
    offer = offers.look(device)
    if not offer.migration_regions or offer.later is None:
        not_applicable("the device offers one version of the protocol only")
    device.reset()
    region, feature = RegionSaver(MigrationRegion.find(device)), FeatureSaver(device)
    region_first = request.param == "region-first"
    both: tuple[Saver, Saver] = (region, feature) if region_first else (feature, region)
    yield Pair(*both, name="device_state" if region_first else "MIG_DEVICE_STATE")
    feature.close()
    device.reset()


def held(pair: Pair, stage: Stage) -> str:
    """Bring the device to a stage by the first version; return the words for it."""
    if not pair.first.offers(stage):
        not_applicable(f"this device has no {stage.value}")
    pair.first.reach(stage)
    return f"{stage.value} by {pair.name}"


@pytest.mark.rule("both.held")
@AWAY
def test_other_is_refused(pair: Pair, stage: Stage) -> None:
    """Ask by the other version for each state: EBUSY, and the first has the state it had."""
    words = held(pair, stage)
    before = pair.first.stage  # more cannot be asked without a side effect
    for wanted in (one for one in Stage if pair.other.offers(one)):
        with expect_errno(EBUSY, did=f"{words}, then {pair.other.words(wanted)}"):
            pair.other.enter(wanted)
    expect_equal(pair.first.stage, before, did=f"{words}, refuse the other, ask again")


@pytest.mark.rule("both.held")
def test_stream_goes_on(pair: Pair) -> None:
    """Refuse the other version amid a save: the stream is whole, and loads."""
    pair.first.enter(pair.first.first)
    for _ in range(2):
        pair.other.attempt(Stage.STOP_COPY)
        pair.other.attempt(Stage.RUNNING)
        if pair.first.stage is not Stage.STOP_COPY:
            pair.first.enter(Stage.STOP_COPY)
    stream = pair.first.read_all()
    pair.first.enter(Stage.RUNNING)
    expect_true(total(stream), did="save", expected="a stream", actual="nothing")
    pair.first.enter(Stage.RESUMING)
    pair.first.give(stream)
    pair.other.attempt(Stage.RESUMING)
    with expect_success(did="refuse the other amid a load, then run"):
        pair.first.enter(Stage.RUNNING)


@pytest.mark.rule("both.unread")
@AWAY
def test_state_is_not_shown_to_the_other(pair: Pair, stage: Stage) -> None:
    """Read the state by the other version: EBUSY, and no state that is not the device's."""
    words = held(pair, stage)
    with expect_errno(EBUSY, did=f"{words}, then read the state by the other version") as call:
        call.result = pair.other.stage


@pytest.mark.rule("both.freed")
@AWAY
@pytest.mark.parametrize("way", ["reset", "reopen"])
def test_reset_and_last_close_free_it(pair: Pair, device: Device, stage: Stage, way: str) -> None:
    """Reset, or close and open: both read running, and the other version has it next."""
    words = held(pair, stage)
    pair.first.close()
    device.reset() if way == "reset" else device.reopen()
    other = pair.other
    for one in (pair.first, pair.other):
        again = one if isinstance(one, FeatureSaver) else RegionSaver(MigrationRegion.find(device))
        other = again if one is pair.other else other
        with expect_success(did=f"{words}, {way}, read the state by each version"):
            stage_now = again.stage
        expect_equal(stage_now, Stage.RUNNING, did=f"{words}, {way}, read the state")
    with expect_success(did=f"{words}, {way}, {other.words(Stage.STOPPED)}"):
        other.enter(Stage.STOPPED)


@pytest.mark.rule("both.first")
def test_what_changes_nothing_holds_nothing(pair: Pair, device: Device) -> None:
    """Read, ask for the present state and for one that does not exist: the other is free."""
    expect_equal(pair.first.stage, Stage.RUNNING, did=f"read {pair.name}")
    pair.first.enter(Stage.RUNNING)
    with expect_errno(EINVAL, did="ask for a state that does not exist"):
        if isinstance(pair.first, RegionSaver):
            pair.first.migration.set_state(8)
        else:
            features.set_state(device, 99)
    with expect_success(did=f"after that, {pair.other.words(Stage.STOPPED)}"):
        pair.other.enter(Stage.STOPPED)


@pytest.mark.rule("both.back")
def test_back_in_running(pair: Pair, observe: Observe) -> None:
    """Go away and back to running by the first version: the other is free, or still refused."""
    pair.first.enter(Stage.STOPPED)
    pair.first.enter(Stage.RUNNING)
    refused = pair.other.attempt(Stage.STOPPED)
    if refused is not None:
        expect_equal(refused, EBUSY, did="the errno of the refusal")
    observe("both.back", "free" if refused is None else "refused")
