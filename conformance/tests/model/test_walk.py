# SPDX-License-Identifier: GPL-2.0-only
"""Random walks: the oracle of a walk, and the walker on a device without a kernel."""

import errno
from typing import Any

import pytest

from conformance.migration.v1.region import MigrationRegion
from conformance.model.layout import PAGE, Layout
from conformance.model.ledger import Ledger
from conformance.model.v1.states import State
from conformance.model.v1.walk import Outcome, Walk
from conformance.plugin.checks import RequirementFailed
from conformance.plugin.declared import Scratch
from conformance.suite.support.walks import machine
from conformance.suite.v1.walks import walk_machine
from conformance.suite.v1.walks.walker import Walker
from conformance.tests.vfio.fake_device import FakeDevice

SEED = 20200602
LAYOUT = Layout(4 * PAGE, ((0, 4 * PAGE),), ((0, 2 * PAGE),))


def walk(*states: State) -> Walk:
    made = Walk(Ledger({0: LAYOUT}))
    for state in states:
        made.moved(state)
    return made


def test_expect_without_mappings() -> None:
    assert walk().expect(2).outcome is Outcome.TAKEN
    assert walk().expect(5).outcome is Outcome.REFUSED
    assert walk(State.STOPPED).expect(2).outcome is Outcome.TAKEN
    assert walk(State.STOPPED).expect(3).outcome is Outcome.EITHER


def test_a_conflict_hinders_what_adds_saving() -> None:
    made = walk()
    made.ledger.mmap("me", 0, 0, 2 * PAGE, PAGE)
    expected = made.expect(3)
    assert (expected.outcome, expected.errno) == (Outcome.REFUSED, errno.EBUSY)
    assert "page 0x2000 of region 0" in expected.why
    assert made.expect(0).outcome is Outcome.TAKEN
    made.moved(State.STOPPED)
    assert made.expect(2).errno == errno.EBUSY
    assert made.expect(3).errno == 0  # that transition need not be there at all


def test_resuming_needs_the_whole_stream() -> None:
    made = walk(State.STOP_AND_COPY)
    made.registers = {}
    made.took(b"one")
    made.took(b"two")
    made.nothing_pends()
    assert made.saved is not None
    made.moved(State.RUNNING)
    made.moved(State.RESUMING)
    assert made.expect(1).rule == "resume.invalid"
    assert made.chunk_to_give() == b"one"
    made.gave()
    assert made.expect(1).outcome is Outcome.REFUSED
    made.gave()
    assert made.chunk_to_give() is None
    assert made.expect(1).outcome is Outcome.TAKEN
    made.gave_wrong(taken=True)
    assert made.expect(1).outcome is Outcome.REFUSED


def test_what_is_refused_at_once_leaves_it_open() -> None:
    made = walk(State.RESUMING)
    assert made.expect(1).outcome is Outcome.EITHER  # perhaps it has no state
    made.gave_wrong(taken=False)
    assert made.expect(1).outcome is Outcome.EITHER
    assert made.chunk_to_give() is None
    made.gave_wrong(taken=True)
    assert made.expect(1).outcome is Outcome.REFUSED


def test_a_stream_needs_all_of_its_buffers() -> None:
    made = walk(State.PRE_COPY, State.STOP_AND_COPY)
    made.took(b"one")
    made.moved(State.PRE_COPY)  # offered by some devices; nothing says what comes now
    made.moved(State.STOP_AND_COPY)
    made.nothing_pends()
    assert made.saved is None


def test_registers_come_back_with_the_stream() -> None:
    made = walk()
    made.registers[0] = 7
    made.moved(State.STOP_AND_COPY)
    made.took(b"all")
    made.nothing_pends()
    made.moved(State.RUNNING)
    made.registers[0] = 8
    made.moved(State.RESUMING)
    made.gave()
    made.moved(State.RUNNING)
    assert made.registers == {0: 7}
    made.reset()
    assert made.registers == {}


class Good(FakeDevice):
    """The fake device, which forgets what it was sent when it is resumed or reset."""

    def _write_state(self, value: int) -> None:
        super()._write_state(value)
        self.taken = []

    def reset(self) -> None:
        super().reset()
        self.taken = []


class Forgetful(Good):
    """A device that restores one register wrongly."""

    def _load(self) -> None:
        super()._load()
        self.pwrite(b"\0\0\0\0", 8)


class Restless(Good):
    """A device that starts again when pending_bytes is read for the third time."""

    reads = 0

    def _write_state(self, value: int) -> None:
        super()._write_state(value)
        self.reads = 0

    def _read_pending(self) -> int:
        self.reads += 1
        if self.reads > 2 and self.state == 2:
            self.state = 1
        return super()._read_pending()


class Hurt(Good):
    """A device that a reset does not bring out of the error state; to open it again does."""

    def reset(self) -> None:
        if self.state != 6:
            super().reset()

    def _load(self) -> None:
        if not self.taken:
            self.state = 6
            raise OSError(errno.EINVAL, "nothing came")
        super()._load()


class Spoilt(Good):
    """A device that after an invalid state never saves any more, whatever is done."""

    spoilt = False

    def _write_state(self, value: int) -> None:
        self.spoilt = self.spoilt or value == 7
        if self.spoilt and value in (2, 3):
            raise OSError(errno.EBUSY, "not any more")
        super()._write_state(value)


class Moody(Good):
    """A device that fails once in its life, to enter pre-copy the fifth time."""

    entries = 0

    def _write_state(self, value: int) -> None:
        self.entries += (self.state, value) == (1, 3)
        if (self.state, value, self.entries) == (1, 3, 5):
            raise OSError(errno.EIO, "not now")
        super()._write_state(value)


def walker(device: FakeDevice) -> Walker:
    places = [Scratch(device.region(0), offset, 0xFFFFFFFF) for offset in (0, 8)]
    return Walker(MigrationRegion.find(device), [], places)


def test_registers_are_left_as_they_were() -> None:
    device = Good()
    device.region(0).write_int(8, 0x1234)
    walking = walker(device)
    walking.put(0, 0x55)
    walking.put(1, 0x66)
    walking.write_state(2)
    walking.leave()
    assert device.state == 1
    assert [device.region(0).read_int(offset) for offset in (0, 8)] == [0, 0x1234]


def test_a_good_device_walks() -> None:
    walk_machine.walk(walker(Good()), 30, SEED)


@pytest.mark.parametrize(
    ("kind", "rule", "longest"),
    [
        (Forgetful, "resume.round-trip", 9),
        (Restless, "state.no-spontaneous", 5),
    ],
)
def test_a_short_walk_is_found_and_printed(kind: type[FakeDevice], rule: str, longest: int) -> None:
    said: list[str] = []
    with pytest.raises(RequirementFailed) as caught:
        walk_machine.walk(walker(kind()), 5000, SEED, said.append)
    assert caught.value.rule == rule
    steps = [line.strip() for line in said[0].splitlines() if line.startswith("    walker.")]
    assert 2 <= len(steps) <= longest, "\n".join(said)
    again = run_as_test(said, walker(kind()))
    assert again.rule == rule


def run_as_test(said: list[str], on: Walker) -> RequirementFailed:
    """Run the text of a walk as the test that it is, and return its failure."""
    scope: dict[str, Any] = {}
    title, text = said[0].split("\n", 1)
    assert title.startswith("the same as a test")
    exec(text, scope)  # noqa: S102 - that is what it is for
    with pytest.raises(RequirementFailed) as caught:
        scope["test_walk_that_went_wrong"](on)
    return caught.value


@pytest.mark.parametrize(("kind", "notes"), [(Hurt, 0), (Spoilt, 1)])
def test_what_outlives_a_walk_is_reported_by_the_walk_that_did_it(
    kind: type[FakeDevice], notes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How short the walk becomes is not the point here.
    monkeypatch.setattr(machine, "_SHORTENING", 0)
    said: list[str] = []
    with pytest.raises(RequirementFailed):
        walk_machine.walk(walker(kind()), 300, SEED, said.append)
    assert [line for line in said if "does not recover" in line] == said[1:]
    assert len(said) == 1 + notes
    run_as_test(said, walker(kind()))


def test_a_failure_that_does_not_come_again_is_one() -> None:
    said: list[str] = []
    with pytest.raises(RequirementFailed, match="EIO"):
        walk_machine.walk(walker(Moody()), 300, SEED, said.append)
    assert said[-1] == "the walk does not go wrong every time"
