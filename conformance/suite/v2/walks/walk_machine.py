# SPDX-License-Identifier: GPL-2.0-only
"""The steps of random walks in version 2."""

from collections.abc import Callable
from typing import Final

from conformance.model.v2.fsm import State
from conformance.suite.support.walks import machine
from conformance.suite.support.walks.machine import (
    COMMON,
    Choice,
    between,
    in_state,
    one_of,
    saving,
)
from conformance.suite.v2.walks.walker import Walker
from conformance.vfio import trace

_STATES: Final = one_of(*range(9), *range(1, 8), 1 << 31)
_SIZES: Final = one_of(1, 5, 64, 4096, 1 << 16)
_THEN: Final = one_of(State.RUNNING, State.STOP, State.STOP_COPY)


_running, _resuming = in_state(State.RUNNING), in_state(State.RESUMING)

_CHOICES: Final = (
    *COMMON,
    Choice((("set_state", _STATES),)),
    Choice((("get_state",),)),
    Choice((("take", _SIZES),), saving),
    Choice((("take_all",),), saving),
    Choice((("set_state", State.STOP_COPY), ("take_all",)), _running),
    Choice((("give", _SIZES),), _resuming),
    Choice((("give_wrong", between(1, 4096)),), _resuming),
    Choice(
        (("set_state", State.RESUMING), ("give_all",), ("set_state", _THEN)),
        lambda walker: walker.may_resume,
    ),
)


def walk(walker: Walker, walks: int, seed: int, say: Callable[[str], None] = trace.note) -> None:
    """Take random walks, as :func:`~conformance.suite.support.walks.machine.walk` does."""
    machine.walk(_CHOICES, walker, walks, seed, say)
