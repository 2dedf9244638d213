# SPDX-License-Identifier: GPL-2.0-only
"""The oracle's paths, compared with the table that the header's text amounts to."""

import pytest

from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State

NAMES = {
    "R": State.RUNNING,
    "r": State.RUNNING_P2P,
    "S": State.STOP,
    "C": State.STOP_COPY,
    "L": State.RESUMING,
    "P": State.PRE_COPY,
    "p": State.PRE_COPY_P2P,
}
#: Row: from; column: to; cell: the steps, `=` nothing to do, `x` refused. All flags are set.
TABLE = """
from R    r    S      C    L      P      p
R    =    r    r,S    r,S,C r,S,L P      r,p
r    R    =    S      S,C  S,L    R,P    p
S    r,R  r    =      C    L      r,R,P  r,p
C    S,r,R S,r S      =    S,L    x      x
L    S,r,R S,r S      S,C  =      S,r,R,P S,r,p
P    R    R,r  R,r,S  p,C  R,r,S,L =     p
p    r,R  r    r,S    C    r,S,L  P      =
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [
    (NAMES[row[0]], NAMES[column], cell)
    for row in ROWS[1:]
    for column, cell in zip(ROWS[0][1:], row[1:], strict=True)
]
EVERY = [(flags, *cell) for flags in fsm.FLAG_SETS for cell in CELLS]


def _expected(cell: str, flags: int) -> tuple[State, ...] | None:
    if cell == "x":
        return None
    steps = () if cell == "=" else tuple(NAMES[letter] for letter in cell.split(","))
    return tuple(step for step in steps if step in fsm.states(flags))


@pytest.mark.parametrize("flags", fsm.FLAG_SETS)
def test_path(flags: int) -> None:
    there = fsm.states(flags)
    expected = {
        (old, new): _expected(cell, flags) if old in there and new in there else None
        for old, new, cell in CELLS
    }
    assert {(old, new): fsm.path(old, new, flags) for old, new, _ in CELLS} == expected


def test_all_transitions_are_looked_at() -> None:
    cells = [
        cell
        for flags, old, new, cell in EVERY
        if {old, new} <= set(fsm.states(flags)) and cell != "="
    ]
    assert len(cells) == 94  # 42 and 20, 20, 12 off the diagonals


@pytest.mark.parametrize(
    ("flags", "arcs", "combinations"), [(7, 15, 25), (3, 8, 12), (5, 9, 10), (1, 6, 6)]
)
def test_numbers(flags: int, arcs: int, combinations: int) -> None:
    assert len(fsm.arcs(flags)) == arcs
    assert len(list(fsm.combinations(flags))) == combinations


def test_the_error_state_is_neither_left_nor_entered() -> None:
    assert all(fsm.path(State.ERROR, new, 7) is None for new in State)
    assert all(fsm.path(old, State.ERROR, 7) is None for old in State)
    assert fsm.path(State.RUNNING, 8, 7) is None


def test_sessions() -> None:
    begun = {(o, n) for o in State for n in State if fsm.begins_session(o, n, 7)}
    assert (State.RESUMING, State.STOP_COPY) in begun
    assert (State.STOP_COPY, State.RESUMING) in begun
    assert (State.PRE_COPY, State.STOP_COPY) not in begun
    assert fsm.keeps_session(State.PRE_COPY, State.STOP_COPY)
    assert not fsm.keeps_session(State.RESUMING, State.STOP_COPY)


def test_mappings_are_judged_where_the_saving_group_is_entered() -> None:
    judged = {(o, n) for o in State for n in State if fsm.judges_mappings(o, n, 7)}
    assert len(judged) == 12
    assert {new for _, new in judged} == fsm.SAVING


def test_after_a_failure() -> None:
    assert fsm.after_failure(State.RUNNING, State.STOP_COPY, 1) == (
        State.RUNNING,
        State.STOP,
        State.STOP_COPY,
        State.ERROR,
    )
