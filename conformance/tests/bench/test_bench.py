# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark: ratios, what the host makes of the guest's events, table and plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from conformance.bench import plot as bench_plot
from conformance.bench import report as bench_report
from conformance.bench.command import follow
from conformance.bench.measure.ratios import compare, interleaved, timed
from conformance.bench.plot import Scale
from conformance.cli.arguments import parse
from conformance.errors import AgentError
from conformance.events import kinds
from conformance.events.kinds import Agent, Event, Output, Phase, Ratio

ROWS = [
    Ratio("mappings", "mmap + munmap", "plain vfio-pci", 0, 1.05, 0.98, 1.2, 21),
    Ratio("mappings", "fork + exit", "plain vfio-pci", 1, 1.0, 0.9, 1.1, 21),
    Ratio("states", "accepted 1 -> 3", "1 mapping", 10, 1.0, 0.7, 1.4, 9),
    Ratio("states", "accepted 1 -> 3", "1 mapping", 10000, 1.1, 0.8, 1.3, 9),
    Ratio("states", "refused 1 -> 2", "1 mapping", 10000, 0.99, 0.8, 1.3, 9),
    Ratio("traps", "saved, write() / running, mapping", "mapped", None, 20.0, 15.0, 30.0, 21),
    Ratio("packets", "a ring of buffers", "running", None, 0.97, 0.9, 1.1, 21),
    Ratio("copied", "a ring of buffers", "mapped", None, 0.0078, 0.0078, 0.0078, 21),
    Ratio("stream", "8-byte reads", "memcpy", None, 0.0012, 0.001, 0.0013, 21),
]


def _events(*, status: str = "0") -> Iterator[Event]:
    yield Agent("measure", "")
    yield from ROWS
    yield Output("Traceback\nOSError: no device\n")
    yield Agent(Phase.MEASURED, status)
    yield Agent(Phase.DONE, "")


def test_ratio_is_of_the_medians_and_spread_is_within_rounds() -> None:
    row = compare("mappings", "a", "b", [10, 20, 90], [10, 10, 30], live=7)
    assert (row.ratio, row.low, row.high) == (2.0, 1.0, 3.0)
    assert (row.live, row.rounds) == (7, 3)


def test_rounds_of_different_number_do_not_compare() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare("mappings", "a", "b", [1, 2], [1])


def test_cases_take_turns_and_every_second_round_goes_backwards() -> None:
    seen: list[str] = []

    def case(name: str) -> int:
        seen.append(name)
        return len(seen)

    taken = interleaved({"a": lambda: case("a"), "b": lambda: case("b")}, 2)
    assert seen == list("abbaabba")  # two rounds warm up
    assert taken == {"a": [5, 8], "b": [6, 7]}


def test_timed_does_it_so_often() -> None:
    done: list[int] = []
    assert timed(lambda: done.append(1), 5) > 0
    assert len(done) == 5


def test_rows_come_as_the_guest_measured_them(tmp_path: Path) -> None:
    assert list(follow(_events(), tmp_path / "log")) == ROWS
    assert "no device" in (tmp_path / "log").read_text()


def test_a_benchmark_that_broke_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="status 3: OSError: no device"):
        list(follow(_events(status="3"), tmp_path / "log"))


def test_an_agent_that_gives_up_is_reported(tmp_path: Path) -> None:
    event = kinds.AgentError("plain", "no vfio_pci")
    with pytest.raises(AgentError, match=r"\(plain\): no vfio_pci"):
        list(follow([event], tmp_path / "log"))


def test_table_has_a_title_for_each_group_and_a_line_for_each_row() -> None:
    lines = [line for old, new in pairwise([None, *ROWS]) for line in _lines(new, old)]
    assert sum("least .. greatest" in line for line in lines) == 6
    assert "  mmap + munmap, 0 live mappings             1.05  (0.980 .. 1.20)" in lines
    assert "  8-byte reads                             0.0012  (0.001 .. 0.0013)" in lines


def _lines(row: Ratio | None, before: Ratio | None) -> list[str]:
    assert row
    return list(bench_report.lines(row, before))


def test_results_are_written(tmp_path: Path) -> None:
    data, plot = bench_report.write(tmp_path, ROWS, {"kernel": "6.12"})
    found = json.loads(data.read_text())
    assert [Ratio(**one) for one in found["rows"]] == ROWS
    assert found["versions"] == {"kernel": "6.12"}
    assert plot.name == "bench.svg"


def test_plot_is_well_formed_and_shows_everything() -> None:
    text = bench_plot.plot(ROWS, bench_report.TITLES, bench_report.label)
    root = ET.fromstring(text)  # noqa: S314 - our own
    words = {one.text for one in root.iter("{http://www.w3.org/2000/svg}text")}
    assert set(bench_report.TITLES.values()) <= words
    assert {"8-byte reads", "refused 1 -> 2", "mmap + munmap, 0 live mappings"} <= words
    for one in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert one.get("width") == "100%" or float(one.get("width", "")) > 0


def test_groups_without_rows_are_not_plotted() -> None:
    text = bench_plot.plot(ROWS[-1:], bench_report.TITLES, bench_report.label)
    assert "memcpy" in text
    assert "vfio-pci" not in text


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([1.0], [1, 2]), ([0.6, 3.0], [0.5, 1, 2, 5]), ([0.02, 90.0], [0.01, 0.1, 1, 10, 100])],
)
def test_axis_ends_at_ticks_and_has_1(values: list[float], ticks: list[float]) -> None:
    scale = Scale(values, 0, 100)
    assert scale.ticks == pytest.approx(ticks)
    assert scale(scale.ticks[0]) == pytest.approx(0)
    assert scale(scale.ticks[-1]) == pytest.approx(100)


def test_command_takes_what_check_takes() -> None:
    arguments = parse(["bench", "i40e-vf", "--image", "bookworm", "--results", "there"])
    assert (arguments.command, arguments.device, arguments.image) == (
        "bench",
        "i40e-vf",
        "bookworm",
    )
    assert arguments.results == Path("there")
