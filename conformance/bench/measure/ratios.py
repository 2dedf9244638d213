# SPDX-License-Identifier: GPL-2.0-only
"""Takes times in turns and compares them: absolute times say more about the machine.

What is compared is measured in the same round, and every second round goes the other way round,
so that a machine that gets slower meanwhile slows down both sides.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from conformance.events.kinds import Ratio

#: Takes one sample and returns nanoseconds; what else it does is not in them.
Case = Callable[[], int]

_K = TypeVar("_K")

_WARM: Final = 2


def timed(action: Callable[[], object], times: int = 1) -> int:
    """Return the nanoseconds that doing something several times takes."""
    repeat = range(times)
    begun = time.perf_counter_ns()
    for _ in repeat:
        action()
    return time.perf_counter_ns() - begun


def interleaved(cases: Mapping[_K, Case], rounds: int) -> dict[_K, list[int]]:
    """Take a sample of each case in each round, after rounds that only warm up."""
    taken: dict[_K, list[int]] = {key: [] for key in cases}
    order = list(cases)
    for number in range(-_WARM, rounds):
        for key in order:
            sample = cases[key]()
            if number >= 0:
                taken[key].append(sample)
        order.reverse()
    return taken


def compare(
    group: str,
    name: str,
    against: str,
    times: Sequence[float],
    base: Sequence[float],
    *,
    live: int | None = None,
) -> Ratio:
    """Return how much longer ``times`` are than ``base``, round by round.

    >>> compare("states", "a", "b", [20, 30, 40], [10, 10, 10])
    Ratio(group='states', name='a', against='b', live=None, ratio=3.0, low=2.0, high=4.0, rounds=3)
    """
    within = [one / other for one, other in zip(times, base, strict=True)]
    ratio = statistics.median(times) / statistics.median(base)
    return Ratio(group, name, against, live, ratio, min(within), max(within), len(within))
