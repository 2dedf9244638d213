# SPDX-License-Identifier: GPL-2.0-only
"""Reports the measurements: a table, JSON, and a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from conformance.bench import plot as bench_plot
from conformance.events.kinds import Ratio

TITLES = {
    "mappings": "time with the driver / time with plain vfio-pci",
    "states": "time of a state write / the same with 1 live mapping",
    "stream": "throughput of the data section / throughput of memcpy",
    "traps": "time of writes of a tail, in two ways",
    "packets": "buffers a second that are posted and filled, saved / running",
    "copied": "pages copied by the bitmap / pages mapped",
}
"""What the ratios of each group mean."""


def lines(row: Ratio, before: Ratio | None) -> Iterator[str]:
    """Yield the lines of the table that a row adds: a title as well where a group begins.

    Args:
        row: The row; it shows the ratio of the medians, and the spread over the rounds.
        before: The row before, if there is one.
    """
    if before is None or row.group != before.group:
        yield ""
        yield f"{TITLES[row.group]} (least .. greatest within a round)"
    spread = f"{number(row.low)} .. {number(row.high)}"
    yield f"  {label(row):<38} {number(row.ratio):>8}  ({spread})"


def label(row: Ratio) -> str:
    """Return what a row is of.

    >>> label(Ratio("mappings", "fork + exit", "plain vfio-pci", 100, 1.0, 1.0, 1.0, 3))
    'fork + exit, 100 live mappings'
    """
    if row.live is None:
        return row.name
    return f"{row.name}, {row.live} live mapping{'' if row.live == 1 else 's'}"


def number(value: float) -> str:
    """Return a ratio with three digits that count.

    >>> [number(value) for value in (0.00123, 0.5, 1.0, 12.34, 345.6)]
    ['0.00123', '0.500', '1.00', '12.3', '346']
    """
    if value < 0.1:
        return f"{value:.3g}"
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def write(results: Path, rows: Sequence[Ratio], versions: Mapping[str, str]) -> list[Path]:
    """Write ``bench.json`` and ``bench.svg``, and return their paths.

    Raises:
        OSError: They cannot be written.
    """
    data = results / "bench.json"
    found = {"versions": dict(versions), "rows": [asdict(row) for row in rows]}
    data.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    plot = results / "bench.svg"
    plot.write_text(bench_plot.plot(rows, TITLES, label), encoding="utf-8")
    return [data, plot]
