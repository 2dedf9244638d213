# SPDX-License-Identifier: GPL-2.0-only
"""Steps that tests of either protocol take, and the judgements that belong to them."""

from conformance.migration.saver import Saver, Stage
from conformance.migration.stream import Stream, total
from conformance.plugin.checks import expect_equal, expect_errno, expect_success
from conformance.plugin.declared import Scratch


def expect_refused(saver: Saver, stage: Stage, *errnos: int, why: str = "") -> None:
    """Demand that a stage is refused and that the device stays where it is."""
    __tracebackhide__ = True
    old = saver.stage
    did = f"{saver.words(stage)}{why and f', {why}'}"
    with expect_errno(*errnos, did=did):
        saver.enter(stage)
    expect_equal(saver.stage, old, did=f"{did}, then read the state")


def expect_taken(saver: Saver, stage: Stage, *, why: str = "") -> None:
    """Demand that the device goes to a stage and says so."""
    __tracebackhide__ = True
    did = f"{saver.words(stage)}{why and f', {why}'}"
    with expect_success(did=did):
        saver.enter(stage)
    expect_equal(saver.stage, stage, did=f"{did}, then read the state")


def expect_whole(saver: Saver, stream: Stream, *, did: str) -> None:
    """Demand that a running device can be resumed from the stream."""
    __tracebackhide__ = True
    with expect_success(did=f"{did}, then resume from the {total(stream)} bytes that were read"):
        saver.resume(stream)
    expect_equal(saver.stage, Stage.RUNNING, did=f"{did}, then resume")


def set_apart(places: list[Scratch], salt: int) -> list[int]:
    """Give each register a value of its own, and return what it then reads as."""
    for at, place in enumerate(places):
        place.write(salt ^ (at * 0x01010101))
    return [place.read() for place in places]
