# SPDX-License-Identifier: GPL-2.0-only
"""The state machine of version 2: which transitions there are, and by which steps they go.

The header draws arcs, some only with a flag, and says of all other transitions how their steps
are found: the shortest way, that has no saving state inside it. Paths are found here by that
rule, with a search over the arcs; no table of a kernel is copied.
"""

from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from itertools import permutations
from typing import Final

STOP_COPY_FLAG: Final = 1 << 0
P2P_FLAG: Final = 1 << 1
PRE_COPY_FLAG: Final = 1 << 2
#: All flags that there are, and all sets of them that a device can have.
FLAGS: Final = STOP_COPY_FLAG | P2P_FLAG | PRE_COPY_FLAG
FLAG_SETS: Final = tuple(STOP_COPY_FLAG | rest for rest in (0, 2, 4, 6))


class State(IntEnum):
    """The states, by their numbers."""

    ERROR = 0
    STOP = 1
    RUNNING = 2
    STOP_COPY = 3
    RESUMING = 4
    RUNNING_P2P = 5
    PRE_COPY = 6
    PRE_COPY_P2P = 7

    @property
    def saving(self) -> bool:
        """Whether a session of saving is alive in it."""
        return self in SAVING

    @property
    def word(self) -> str:
        """Its name in the id of a rule or a test: ``stop-copy``."""
        return self.name.lower().replace("_", "-")


Arc = tuple[State, State]

SAVING: Final = frozenset({State.STOP_COPY, State.PRE_COPY, State.PRE_COPY_P2P})

#: Arcs that the header draws, and the flags that a device must and must not have for each.
_ARCS: Final[dict[Arc, tuple[int, int]]] = {
    (State.RUNNING, State.STOP): (0, P2P_FLAG),
    (State.STOP, State.RUNNING): (0, P2P_FLAG),
    (State.STOP, State.STOP_COPY): (0, 0),
    (State.STOP_COPY, State.STOP): (0, 0),
    (State.STOP, State.RESUMING): (0, 0),
    (State.RESUMING, State.STOP): (0, 0),
    (State.RUNNING, State.RUNNING_P2P): (P2P_FLAG, 0),
    (State.RUNNING_P2P, State.RUNNING): (P2P_FLAG, 0),
    (State.RUNNING_P2P, State.STOP): (P2P_FLAG, 0),
    (State.STOP, State.RUNNING_P2P): (P2P_FLAG, 0),
    (State.RUNNING, State.PRE_COPY): (PRE_COPY_FLAG, 0),
    (State.PRE_COPY, State.RUNNING): (PRE_COPY_FLAG, 0),
    (State.PRE_COPY, State.STOP_COPY): (PRE_COPY_FLAG, P2P_FLAG),
    (State.RUNNING_P2P, State.PRE_COPY_P2P): (PRE_COPY_FLAG | P2P_FLAG, 0),
    (State.PRE_COPY_P2P, State.RUNNING_P2P): (PRE_COPY_FLAG | P2P_FLAG, 0),
    (State.PRE_COPY, State.PRE_COPY_P2P): (PRE_COPY_FLAG | P2P_FLAG, 0),
    (State.PRE_COPY_P2P, State.PRE_COPY): (PRE_COPY_FLAG | P2P_FLAG, 0),
    (State.PRE_COPY_P2P, State.STOP_COPY): (PRE_COPY_FLAG | P2P_FLAG, 0),
}

#: Steps that begin a session, so that a transition that ends with one gives a data_fd.
_BEGINNINGS: Final = frozenset(
    {
        (State.RUNNING, State.PRE_COPY),
        (State.RUNNING_P2P, State.PRE_COPY_P2P),
        (State.STOP, State.STOP_COPY),
        (State.STOP, State.RESUMING),
    }
)


def states(flags: int) -> tuple[State, ...]:
    """Return the states that a device with these flags can be set to, in their order."""
    needs = {
        State.ERROR: FLAGS + 1,
        State.RUNNING_P2P: P2P_FLAG,
        State.PRE_COPY: PRE_COPY_FLAG,
        State.PRE_COPY_P2P: P2P_FLAG | PRE_COPY_FLAG,
    }
    return tuple(state for state in State if needs.get(state, 0) & ~flags == 0)


def arcs(flags: int = FLAGS) -> tuple[Arc, ...]:
    """Return the transitions of one step that a device with these flags has."""
    return tuple(
        arc for arc, (must, without) in _ARCS.items() if must & ~flags == 0 and not without & flags
    )


def all_arcs() -> tuple[Arc, ...]:
    """Return the transitions that are one step with some set of flags."""
    return tuple(_ARCS)


def path(old: State, new: int, flags: int) -> tuple[State, ...] | None:
    """Return the steps from one state to another, the last is ``new``; None if it is refused.

    No steps lead from a state to itself. A way from one saving state to another never leaves
    them; every other way has none inside it.
    """
    there = states(flags)
    if old not in there or new not in there:
        return None
    target = State(new)
    if old is target:
        return ()
    staying = old.saving and target.saving
    drawn = arcs(flags)
    seen: dict[State, tuple[State, ...]] = {old: ()}
    queue = deque([old])
    while queue:
        here = queue.popleft()
        for start, end in drawn:
            if start is not here or end in seen:
                continue
            if end is not target and end.saving is not staying:
                continue
            seen[end] = (*seen[here], end)
            queue.append(end)
    return seen.get(target)


def begins_session(old: State, new: State, flags: int) -> bool:
    """Return whether a transition gives a new data_fd."""
    steps = path(old, new, flags)
    if not steps:
        return False
    return (steps[-2] if len(steps) > 1 else old, new) in _BEGINNINGS


def keeps_session(old: State, new: State) -> bool:
    """Return whether the session of ``old`` is still alive in ``new``."""
    return old is new or (old.saving and new.saving)


def combinations(flags: int = FLAGS) -> Iterator[Arc]:
    """Yield the transitions of several steps that a device with these flags has."""
    for old, new in permutations(states(flags), 2):
        steps = path(old, new, flags)
        if steps and len(steps) > 1:
            yield old, new


def all_combinations() -> tuple[Arc, ...]:
    """Return the transitions that are several steps with some set of flags."""
    found = dict.fromkeys(arc for flags in FLAG_SETS for arc in combinations(flags))
    return tuple(sorted(found))


def judges_mappings(old: State, new: State, flags: int) -> bool:
    """Return whether a transition is refused while a mapping conflicts: it enters the group."""
    return path(old, new, flags) is not None and new.saving and not old.saving


def after_failure(old: State, new: State, flags: int) -> tuple[State, ...]:
    """Return the states in which a device may be after a transition that failed on its way."""
    return tuple(dict.fromkeys((old, *(path(old, new, flags) or ()), State.ERROR)))
