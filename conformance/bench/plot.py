# SPDX-License-Identifier: GPL-2.0-only
"""Plots ratios as SVG: bars with their spread, and lines over the number of mappings.

All ratios are on logarithmic axes, where twice and half are as far from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree as ET

from conformance.events.kinds import Ratio

_WIDTH, _LEFT, _RIGHT = 860.0, 250.0, 70.0
_BAR, _TOP, _LINES = 24.0, 46.0, 220.0
_COLOURS = ("#0b62a4", "#c1440e", "#3a7d44")
_EXACT = 1 + 1e-9
"""What a power of ten may miss."""
_INK, _GRID, _FILL = "#222222", "#d5d5d5", "#7fa7c9"


class Scale:
    """A logarithmic axis for values, and 1, from ``start`` to ``end``.

    Its range is widened to whole ticks: decades, or 1, 2 and 5 if that is less than two of them.
    """

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        least, most = min([*values, 1.0]), max([*values, 1.0])
        steps = (1, 2, 5) if most < 100 * least else (1,)
        powers = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 2)
        every = [step * 10.0**power for power in powers for step in steps]
        first = max(tick for tick in every if tick <= least * _EXACT)
        last = min(tick for tick in every if tick >= most / _EXACT and tick > first * _EXACT)
        self.ticks = [tick for tick in every if first <= tick <= last]
        self._low = math.log10(first)
        self._start, self._step = start, (end - start) / (math.log10(last) - self._low)

    def __call__(self, value: float) -> float:
        """Return where a value is."""
        return self._start + (math.log10(value) - self._low) * self._step


class _Sheet:
    """The SVG, drawn from top to bottom."""

    def __init__(self) -> None:
        self.root = ET.Element(
            "svg", xmlns="http://www.w3.org/2000/svg", attrib={"font-family": "sans-serif"}
        )
        self.root.append(ET.Element("rect", width="100%", height="100%", fill="white"))
        self.at = 0.0

    def text(self, x: float, y: float, words: str, anchor: str = "start", **more: str) -> None:
        attributes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "fill": _INK}
        one = ET.SubElement(self.root, "text", {**attributes, "font-size": "12", **more})
        one.text = words

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        attributes = {"points": places, "fill": "none", "stroke": colour}
        ET.SubElement(self.root, "polyline", {**attributes, "stroke-width": f"{width:g}"})

    def bar(self, x: float, y: float, width: float, height: float) -> None:
        shape = {"x": x, "y": y, "width": width, "height": height}
        places = {key: f"{value:.1f}" for key, value in shape.items()}
        ET.SubElement(self.root, "rect", {**places, "fill": _FILL})

    def heading(self, words: str) -> None:
        self.text(16, self.at + 26, words, **{"font-weight": "bold"})
        self.at += _TOP

    def finish(self) -> str:
        height = f"{self.at + 16:.0f}"
        self.root.attrib |= {"width": f"{_WIDTH:g}", "height": height}
        self.root.attrib["viewBox"] = f"0 0 {_WIDTH:g} {height}"
        ET.indent(self.root)
        return ET.tostring(self.root, encoding="unicode") + "\n"


def plot(rows: Sequence[Ratio], titles: Mapping[str, str], label: Callable[[Ratio], str]) -> str:
    """Return the plot of all rows, a panel for each group that has some.

    Args:
        rows: What was measured.
        titles: The groups in their order, with what their ratios mean.
        label: Says what a row is of.
    """
    sheet = _Sheet()
    for group, title in titles.items():
        some = [row for row in rows if row.group == group]
        if some:
            sheet.heading(title)
            if group == "states":
                _growth(sheet, some)
            else:
                _bars(sheet, some, label)
    return sheet.finish()


def _bars(sheet: _Sheet, rows: Sequence[Ratio], label: Callable[[Ratio], str]) -> None:
    """Draw a bar from 1 to each ratio, and its spread as a line."""
    ends = [value for row in rows for value in (row.low, row.high)]
    scale = Scale(ends, _LEFT, _WIDTH - _RIGHT)
    bottom = sheet.at + _BAR * len(rows)
    for tick in scale.ticks:
        sheet.line([(scale(tick), sheet.at), (scale(tick), bottom)], _GRID)
        sheet.text(scale(tick), bottom + 16, f"{tick:g}", "middle")
    for row in rows:
        middle = sheet.at + _BAR / 2
        sheet.text(_LEFT - 10, middle + 4, label(row), "end")
        ends = sorted((scale(1), scale(row.ratio)))
        sheet.bar(ends[0], middle - 8, max(ends[1] - ends[0], 1), 16)
        sheet.line([(scale(row.low), middle), (scale(row.high), middle)], _INK, 1.5)
        sheet.text(_WIDTH - _RIGHT + 10, middle + 4, f"{row.ratio:.3g}")
        sheet.at += _BAR
    sheet.line([(scale(1), bottom - _BAR * len(rows)), (scale(1), bottom)], _INK)
    sheet.at = bottom + 24


def _growth(sheet: _Sheet, rows: Sequence[Ratio]) -> None:
    """Draw a line over the number of mappings for each kind of write."""
    top, bottom = sheet.at, sheet.at + _LINES
    across = Scale([row.live or 1 for row in rows], 60, _WIDTH - _LEFT)
    up = Scale([value for row in rows for value in (row.low, row.high)], bottom, top)
    for tick in across.ticks:
        sheet.line([(across(tick), top), (across(tick), bottom)], _GRID)
        sheet.text(across(tick), bottom + 16, f"{tick:g}", "middle")
    for tick in up.ticks:
        sheet.line([(60, up(tick)), (_WIDTH - _LEFT, up(tick))], _GRID)
        sheet.text(52, up(tick) + 4, f"{tick:g}", "end")
    sheet.text((60 + _WIDTH - _LEFT) / 2, bottom + 34, "live mappings", "middle")
    for number, name in enumerate(dict.fromkeys(row.name for row in rows)):
        colour = _COLOURS[number % len(_COLOURS)]
        line = [row for row in rows if row.name == name]
        points = [(across(row.live or 1), up(row.ratio)) for row in line]
        sheet.line([(across(1), up(1)), *points], colour, 2)
        for row in line:
            x = across(row.live or 1) + 3 * (number - 1)  # side by side
            sheet.line([(x, up(row.low)), (x, up(row.high))], colour)
        legend = top + 16 + 20 * number
        sheet.line(
            [(_WIDTH - _LEFT + 20, legend - 4), (_WIDTH - _LEFT + 44, legend - 4)], colour, 2
        )
        sheet.text(_WIDTH - _LEFT + 52, legend, name)
    sheet.at = bottom + 48
