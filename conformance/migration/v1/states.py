# SPDX-License-Identifier: GPL-2.0-only
"""The states of the protocol by number and by name."""

from typing import Final

STOPPED: Final = 0
RUNNING: Final = 1
STOP_COPY: Final = 2
PRE_COPY: Final = 3
RESUMING: Final = 4
ERROR: Final = 6

RUNNING_BIT: Final = 1
SAVING_BIT: Final = 2
RESUMING_BIT: Final = 4

#: The six states in which a device can be, in the order of their numbers.
STATES: Final = (STOPPED, RUNNING, STOP_COPY, PRE_COPY, RESUMING, ERROR)
#: The states a user can ask for.
WRITABLE: Final = (STOPPED, RUNNING, STOP_COPY, PRE_COPY, RESUMING)

_NAMES: Final = {
    STOPPED: "stopped",
    RUNNING: "_RUNNING",
    STOP_COPY: "_SAVING",
    PRE_COPY: "_RUNNING|_SAVING",
    RESUMING: "_RESUMING",
    5: "_RUNNING|_RESUMING",
    ERROR: "error",
    7: "_RUNNING|_SAVING|_RESUMING",
}


def state_name(value: int) -> str:
    """Return the name of a value of device_state.

    >>> state_name(3)
    '_RUNNING|_SAVING'
    >>> state_name(0x101)
    '_RUNNING|0x100'
    """
    known, rest = value & 7, value & ~7
    if not rest:
        return _NAMES[known]
    return f"{_NAMES[known]}|{rest:#x}" if known else f"{rest:#x}"


def words(value: int) -> str:
    """Return number and name, as the trace has them.

    >>> words(2)
    '2 (_SAVING)'
    """
    return f"{value if value < 8 else hex(value)} ({state_name(value)})"
