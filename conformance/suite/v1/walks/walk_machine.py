# SPDX-License-Identifier: GPL-2.0-only
"""The steps of random walks in version 1."""

from collections.abc import Callable
from typing import Final

from conformance.model.v1.states import State
from conformance.suite.support.walks import machine
from conformance.suite.support.walks.machine import (
    COMMON,
    Choice,
    between,
    in_state,
    one_of,
    saving,
)
from conformance.suite.v1.walks.walker import Walker
from conformance.vfio import trace

_STATES: Final = one_of(0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 1 << 31)


def _in_space(walker: Walker) -> bool:
    return walker.space is not None


_running, _resuming = in_state(State.RUNNING), in_state(State.RESUMING)

_CHOICES: Final = (
    *COMMON,
    Choice((("write_state", _STATES),)),
    Choice((("write_state_undecoded", _STATES),), _in_space),
    Choice((("set_master", one_of(0, 1)),), _in_space),
    Choice((("read_master",),), _in_space),
    # They take long. A hot reset may be one of others, too.
    Choice((("reset_by", one_of("config-space", "sysfs")),), _in_space, chance=1 / 8),
    Choice((("read_state",),)),
    Choice((("poll",),), saving),
    Choice((("take",),), saving, chance=1 / 2),
    Choice((("take_all",),), saving, chance=1 / 2),
    Choice((("write_state", 2), ("take_all",)), _running),
    Choice((("give",),), _resuming, chance=1 / 2),
    Choice((("give_all",),), _resuming, chance=1 / 2),
    Choice((("give_wrong", between(1, 4096)),), _resuming),
    Choice(
        (("write_state", 4), ("give_all",), ("write_state", 1)), lambda walker: walker.may_resume
    ),
)


def walk(walker: Walker, walks: int, seed: int, say: Callable[[str], None] = trace.note) -> None:
    """Take random walks, as :func:`~conformance.suite.support.walks.machine.walk` does."""
    machine.walk(_CHOICES, walker, walks, seed, say)
