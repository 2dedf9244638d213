# SPDX-License-Identifier: GPL-2.0-only
"""The state graph of a protocol version, each arc with what was seen of it.

The arcs are those of which the catalogue has a rule; where the states are drawn is all that is
stated here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from conformance.report.results import Results, RuleResult, RuleVerdict
from conformance.report.text import slug

#: Half of the width and of the height of a state, in units of the drawing.
HALF: Final = (86, 24)
#: How far an arc bends, so that it does not cover the one that leads back.
_BEND: Final = 0.13
_HEAD: Final = 3.0  # from the border of a state to the point of the arrow


_Point = tuple[float, float]


class Seen(StrEnum):
    """What was seen of an arc; the words are those of the legend."""

    TAKEN = "taken"
    REFUSED = "refused"
    BOTH = "taken and refused"
    FAILED = "failed"
    UNKNOWN = "not judged"
    ABSENT = "not applicable"


#: What the legend says of each.
LEGEND: Final[Mapping[Seen, str]] = {
    Seen.TAKEN: "taken: the driver went there, as its rule says",
    Seen.REFUSED: "refused, which the rule allows",
    Seen.BOTH: "taken in one test and refused in another, which the rule allows",
    Seen.FAILED: "failed: a test of the rule failed",
    Seen.UNKNOWN: "not judged: its tests were skipped or did not run",
    Seen.ABSENT: "not applicable to this device; the table of rules has the reason",
}


@dataclass(frozen=True)
class State:
    """A state: its name, a second line, and where its middle is drawn."""

    key: str
    name: str
    also: str
    x: int
    y: int


@dataclass(frozen=True)
class Arc:
    """A transition of which there is a rule."""

    rule: RuleResult
    source: State
    target: State
    steps: str  # "one step", or that it is a combination of several
    seen: Seen
    path: str = ""  # of the drawing; empty if it is not drawn

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of the arc in the drawing."""
        (x1, y1), (x2, y2), (x3, y3) = _points(self.source, self.target)
        return round((x1 + 2 * x2 + x3) / 4, 1), round((y1 + 2 * y2 + y3) / 4, 1)

    @property
    def slug(self) -> str:
        """What was seen, as the style names it."""
        return slug(self.seen)


@dataclass(frozen=True)
class Graph:
    """The states and arcs of a version."""

    protocol: int
    width: int
    height: int
    states: tuple[State, ...]
    arcs: tuple[Arc, ...]

    @property
    def drawn(self) -> tuple[Arc, ...]:
        """The arcs of the drawing, those that failed last and so on top."""
        drawn = [arc for arc in self.arcs if arc.path]
        return tuple(sorted(drawn, key=lambda arc: arc.seen is Seen.FAILED))

    @property
    def combined(self) -> bool:
        """Whether there are transitions that are not drawn."""
        return any(not arc.path for arc in self.arcs)

    @property
    def reached(self) -> frozenset[str]:
        """The states that an arc which was taken begins or ends in."""
        taken = [arc for arc in self.arcs if arc.seen in (Seen.TAKEN, Seen.BOTH)]
        return frozenset(state.key for arc in taken for state in (arc.source, arc.target))

    @property
    def legend(self) -> dict[Seen, str]:
        """The legend of what occurs."""
        occurring = {arc.seen for arc in self.arcs}
        return {seen: text for seen, text in LEGEND.items() if seen in occurring}

    @property
    def counted(self) -> str:
        """Say in a sentence how many arcs were seen in which way."""
        numbers = [(sum(arc.seen is seen for arc in self.arcs), seen) for seen in Seen]
        return ", ".join(f"{number} {seen}" for number, seen in numbers if number)


#: Values of device_state.
_FIRST: Final = (
    State("1", "1 _RUNNING", "running", 400, 50),
    State("3", "3 _RUNNING|_SAVING", "pre-copy", 690, 210),
    State("2", "2 _SAVING", "stop-and-copy", 580, 420),
    State("0", "0", "stopped", 220, 420),
    State("4", "4 _RESUMING", "resuming", 110, 210),
)
_SECOND: Final = (
    State("running", "RUNNING", "", 110, 60),
    State("pre-copy", "PRE_COPY", "", 690, 60),
    State("running-p2p", "RUNNING_P2P", "", 285, 190),
    State("pre-copy-p2p", "PRE_COPY_P2P", "", 515, 190),
    State("stop", "STOP", "", 110, 320),
    State("stop-copy", "STOP_COPY", "", 690, 320),
    State("resuming", "RESUMING", "", 110, 450),
)
_STATES: Final = {1: _FIRST, 2: _SECOND}
_SIZE: Final = (800, 490)
#: What was seen by the outcomes of a FREE rule.
_OBSERVED: Final[Mapping[tuple[str, ...], Seen]] = {
    ("accepted",): Seen.TAKEN,
    ("refused",): Seen.REFUSED,
    ("accepted", "refused"): Seen.BOTH,
}
_PLAIN: Final = re.compile(r"state\.arc(?:-\w+)?\.(\d)-(\d)$")
_NAMED: Final = re.compile(r"fsm\.(arc|combination)\.([a-z0-9-]+?)-to-([a-z0-9-]+)$")


def graph(results: Results) -> Graph | None:
    """Return the graph of the version that was judged; None if no version was."""
    protocol = results.session.protocol if results.session else 0
    if protocol not in _STATES:
        return None
    states = _STATES[protocol]
    arcs = tuple(_arcs(results, protocol, {state.key: state for state in states}))
    return Graph(protocol, *_SIZE, states, arcs)


def _arcs(results: Results, protocol: int, states: Mapping[str, State]) -> Iterator[Arc]:
    for rule in results.rules():
        if rule.requirement.protocol != protocol:
            continue
        name = rule.requirement.id
        if found := _PLAIN.match(name):
            source, target = (states[key] for key in found.groups())
            yield Arc(rule, source, target, "one step", _seen(rule), _path(source, target))
        elif found := _NAMED.match(name):
            kind, first, last = found.groups()
            source, target = states[first], states[last]
            if kind == "arc":
                yield Arc(rule, source, target, "one step", _seen(rule), _path(source, target))
            else:
                yield Arc(rule, source, target, "several steps", _seen(rule))


def _seen(rule: RuleResult) -> Seen:
    match rule.verdict:
        case RuleVerdict.FAILED:
            return Seen.FAILED
        case RuleVerdict.NOT_APPLICABLE:
            return Seen.ABSENT
        case RuleVerdict.SKIPPED | RuleVerdict.NOT_TESTED:
            return Seen.UNKNOWN
    if not rule.requirement.outcomes:
        return Seen.TAKEN
    return _OBSERVED.get(rule.observed, Seen.UNKNOWN)


def _path(source: State, target: State) -> str:
    """Return the path of an arc, bent to its left, from border to border."""
    begin, middle, end = (f"{x:.1f} {y:.1f}" for x, y in _points(source, target))
    return f"M {begin} Q {middle}, {end}"


def _points(source: State, target: State) -> tuple[_Point, _Point, _Point]:
    """Return where an arc begins, the point that bends it, and where it ends."""
    dx, dy = target.x - source.x, target.y - source.y
    middle = ((source.x + target.x) / 2 + dy * _BEND, (source.y + target.y) / 2 - dx * _BEND)
    return _border(source, middle, 0), middle, _border(target, middle, _HEAD)


def _border(state: State, towards: _Point, gap: float) -> _Point:
    """Return where a line from the middle of a state leaves its box, and a gap more."""
    dx, dy = towards[0] - state.x, towards[1] - state.y
    share = min((half / abs(d) for half, d in zip(HALF, (dx, dy), strict=True) if d), default=0)
    share += gap / math.hypot(dx, dy)
    return state.x + dx * share, state.y + dy * share
