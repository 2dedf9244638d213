# SPDX-License-Identifier: GPL-2.0-only
"""Cost of tracking mappings: a function of the driver against one of plain vfio-pci."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from conformance.bench.measure.held import Held, places
from conformance.bench.measure.ratios import compare, interleaved, timed
from conformance.events.kinds import Ratio
from conformance.vfio.device import Device

_LIVE: Final = (0, 100, 10000)
_FORKED: Final = (1, 100, 1000, 10000)
_ROUNDS: Final = 21
_ROUNDS_OF_MANY: Final = 7
_MANY: Final = 10000
_PAIRS: Final = 500


def measure(tested: Device, plain: Device) -> Iterator[Ratio]:
    """Yield a row for mapping and unmapping, and for forking, with so many mappings live."""
    pages = _pages(tested)
    both = {"tested": Held(tested.fd, pages), "plain": Held(plain.fd, pages)}
    with both["tested"], both["plain"]:
        for live in _LIVE:
            for held in both.values():
                held.resize(live)
            cases = {
                name: partial(timed, held.map_and_unmap, _PAIRS) for name, held in both.items()
            }
            yield _row("mmap + munmap", live, interleaved(cases, _rounds(live)))
    for live in _FORKED:
        # In turn, for a fork copies all that is mapped.
        cases = {name: partial(_fork_with, held, live) for name, held in both.items()}
        yield _row("fork + exit", live, interleaved(cases, _rounds(live)))


def _rounds(live: int) -> int:
    """Return fewer rounds where each takes a second."""
    return _ROUNDS if live < _MANY else _ROUNDS_OF_MANY


def _pages(tested: Device) -> Sequence[int]:
    """Return all pages of the first region that has pages that conflict with saving."""
    region = next((one for one in tested.regions if one.conflicting_areas), None)
    region = region or next(one for one in tested.regions if one.runtime_areas)
    return places(region, region.runtime_areas)


def _row(name: str, live: int, taken: dict[str, list[int]]) -> Ratio:
    return compare("mappings", name, "plain vfio-pci", taken["tested"], taken["plain"], live=live)


def _fork_with(held: Held, live: int) -> int:
    with held:
        held.resize(live)
        return timed(_fork_and_exit)


def _fork_and_exit() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
