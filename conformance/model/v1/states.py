# SPDX-License-Identifier: GPL-2.0-only
"""Device states of the v1 migration protocol and the verdict on every write of one."""

from collections.abc import Iterator
from enum import Enum, IntEnum
from typing import Final

RUNNING_BIT: Final = 1 << 0
SAVING_BIT: Final = 1 << 1
RESUMING_BIT: Final = 1 << 2
KNOWN_BITS: Final = RUNNING_BIT | SAVING_BIT | RESUMING_BIT


class State(IntEnum):
    """The states that a device can be in."""

    STOPPED = 0
    RUNNING = 1
    STOP_AND_COPY = 2
    PRE_COPY = 3
    RESUMING = 4
    ERROR = 6

    @property
    def saving(self) -> bool:
        """Return whether _SAVING is set; the error state does not save."""
        return self in {State.STOP_AND_COPY, State.PRE_COPY}


#: What a user can be in without a failure, in the order of their numbers.
WORKING: Final = (
    State.STOPPED,
    State.RUNNING,
    State.STOP_AND_COPY,
    State.PRE_COPY,
    State.RESUMING,
)

#: Combinations of known bits that can never be written. Source: state.invalid.
UNWRITABLE: Final = (5, 6, 7)


class Verdict(Enum):
    """What the rules say about a write of device_state."""

    MUST = "succeeds"
    FREE = "is taken whole or refused whole"
    INVALID = "is refused"


# state.arc: drawn by the uapi
_DRAWN: Final = frozenset({(1, 0), (1, 2), (1, 3), (3, 2), (2, 0), (1, 4), (4, 1)})
# state.arc-vmm: a migration that is given up, a paused machine that is saved
_RELIED_ON: Final = frozenset({(0, 1), (2, 1), (3, 1), (0, 2)})

# Shortest way of must-arcs from a freshly opened device.
_ROUTES: Final = {
    State.STOPPED: (State.STOPPED,),
    State.RUNNING: (),
    State.STOP_AND_COPY: (State.STOP_AND_COPY,),
    State.PRE_COPY: (State.PRE_COPY,),
    State.RESUMING: (State.RESUMING,),
}


def verdict(old: State, value: int) -> Verdict:
    """Return what the rules say about writing ``value`` to a device in state ``old``.

    Mappings and migration data are left aside: a write that MUST succeed may still be refused
    because a mapping conflicts (saving.refuse) or because what was sent is not a whole
    stream (resume.invalid).
    """
    if old is State.ERROR or value & ~KNOWN_BITS or value in UNWRITABLE:
        return Verdict.INVALID
    if old == value or (old, value) in _DRAWN or (old, value) in _RELIED_ON:
        return Verdict.MUST
    return Verdict.FREE


def rule(old: State, value: int) -> str:
    """Return the id of the requirement that decides about the write."""
    if old is State.ERROR:
        return "state.error-exit"
    if value & ~KNOWN_BITS:
        return "state.unknown-bits"
    if value in UNWRITABLE:
        return "state.invalid"
    if old == value:
        return "state.arc-vmm.same"
    family = "arc-free"
    if (old, value) in _DRAWN:
        family = "arc"
    elif (old, value) in _RELIED_ON:
        family = "arc-vmm"
    return f"state.{family}.{int(old)}-{value}"


def arcs(wanted: Verdict) -> Iterator[tuple[State, State]]:
    """Yield the transitions between two different working states that have this verdict."""
    for old in WORKING:
        for new in WORKING:
            if old != new and verdict(old, new) is wanted:
                yield old, new


def adds_saving(old: State, value: int) -> bool:
    """Return whether the write would set _SAVING where it was clear: when mappings are judged."""
    return bool(value & SAVING_BIT) and not old & SAVING_BIT


def route(to: State) -> tuple[State, ...]:
    """Return the writes that bring a running device to a working state, by must-arcs only."""
    return _ROUTES[to]


def after_failure(old: State) -> tuple[State, ...]:
    """Return the states in which a device may be after a write that failed."""
    return (old,) if old is State.ERROR else (old, State.ERROR)
