# SPDX-License-Identifier: GPL-2.0-only
"""Which tests run in this session, and which worker runs each.

A session may be one of several that judge a driver together, each in a guest of its own. All of
them collect the same tests and have the same plan, so each works out all shares and takes its
own: nothing has to be agreed on while tests run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, Self

import pytest

_PARTS: Final = 12
"""Runs of tests of one file per worker: few enough that files stay together, enough to be even."""

LONG: Final = {
    "test_walk.py::test_random_walks": 150,
    "test_walk2.py::test_random_walks": 75,
    "test_dirty_trapped.py::test_copy_by_the_bitmap": 60,
    "test_count.py::test_count": 40,
    "test_race.py::test_race": 30,
    "test_dirty_doubt.py::test_nothing_written_is_clean": 25,
    "test_errors.py::test_nothing_is_too_odd": 25,
    "test_exact.py::test_many": 25,
    "test_load_forged.py::test_forged_after_pre_copy": 25,
}
"""Tests that take much longer than others, by that factor: what counts where they never ran."""


@dataclass(frozen=True)
class Plan:
    """What is known of the tests beforehand.

    Attributes:
        lengths: Seconds that tests took in earlier sessions, by name.
        first: Names of the tests that run before all others, those of the first group first.
    """

    lengths: Mapping[str, float] = field(default_factory=dict)
    first: tuple[frozenset[str], ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan. Raises :class:`OSError` and :class:`ValueError`."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        try:
            lengths = {str(name): float(value) for name, value in raw["lengths"].items()}
            return cls(lengths, tuple(frozenset(map(str, group)) for group in raw["first"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a plan: {error}") from error

    def length(self, name: str, unknown: float) -> float:
        """Return the seconds that a test will take: of one that never ran, a guess.

        Args:
            name: The test's.
            unknown: What is guessed of an ordinary test.
        """
        guess = unknown * LONG.get(name.partition("[")[0], 1)
        return self.lengths.get(name, guess)

    def rank(self, name: str) -> int:
        """Return when a test runs: those of rank 0 first."""
        groups = (rank for rank, group in enumerate(self.first) if name in group)
        return next(groups, len(self.first))


@dataclass(frozen=True)
class Share:
    """The part of this session.

    Attributes:
        number: Which of the sessions it is, from 1.
        count: How many sessions there are.
        plan: What all of them know; None where nobody has planned.
    """

    number: int = 1
    count: int = 1
    plan: Plan | None = None

    def deal(self, names: Sequence[str], workers: int) -> list[list[int]]:
        """Return the indexes of the tests of each worker of this session, in their order.

        Args:
            names: All tests, of all sessions, in their order.
            workers: How many workers each session has.
        """
        if self.plan is None and self.count == 1:
            return [list(range(worker, len(names), workers)) for worker in range(workers)]
        dealt = _deal(names, self.plan or Plan(), self.count * workers)
        return dealt[self.number - 1 :: self.count]


def _deal(names: Sequence[str], plan: Plan, hands: int) -> list[list[int]]:
    """Deal runs of tests, the longest one first, each to the hand that has the least.

    What comes first in the plan is dealt first and leads each hand.
    """
    unknown = median(plan.lengths.values()) if plan.lengths else 1.0
    lengths = [plan.length(name, unknown) for name in names]
    limit = sum(lengths) / (hands * _PARTS)
    ranks = [plan.rank(name) for name in names]
    runs: list[list[int]] = []
    last = ("", 0)
    filled = 0.0
    for index, name in enumerate(names):
        kind = (name.partition("::")[0], ranks[index])
        if not runs or kind != last or filled + lengths[index] > limit:
            runs.append([])
            filled = 0.0
        runs[-1].append(index)
        filled += lengths[index]
        last = kind
    sums = [sum(lengths[index] for index in run) for run in runs]
    loads = [0.0] * hands
    taken: list[list[int]] = [[] for _ in range(hands)]
    for number in sorted(range(len(runs)), key=lambda n: (ranks[runs[n][0]], -sums[n], n)):
        least = loads.index(min(loads))
        loads[least] += sums[number]
        taken[least].append(number)
    in_order = (sorted(hand, key=lambda n: (ranks[runs[n][0]], n)) for hand in taken)
    return [[index for number in hand for index in runs[number]] for hand in in_order]


def add_options(group: pytest.OptionGroup) -> None:
    """Declare the options."""
    group.addoption(
        "--vfio-share",
        metavar="K/N",
        default="1/1",
        help="run only the K-th of N shares of the tests; the other sessions, with the same "
        "--vfio-plan and --vfio-seed, run the rest",
    )
    group.addoption(
        "--vfio-plan",
        metavar="FILE",
        help='what to run first, and how long tests take: {"first": [[NAME...]...], '
        '"lengths": {NAME: SECONDS}}',
    )


def read(config: pytest.Config) -> Share:
    """Read the options. Raises :class:`pytest.UsageError`."""
    text = config.getoption("--vfio-share")
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise pytest.UsageError(f"--vfio-share: {text!r} is not K/N, for example 1/2")
    plan = None
    if path := config.getoption("--vfio-plan"):
        try:
            plan = Plan.read(Path(path))
        except (OSError, ValueError) as error:
            raise pytest.UsageError(f"--vfio-plan: {path}: {error}") from error
    return Share(int(number), int(count), plan)
