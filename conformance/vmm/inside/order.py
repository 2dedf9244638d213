# SPDX-License-Identifier: GPL-2.0-only
"""The order in which a monitor sets states, compared with the model of a monitor.

The model is :class:`conformance.migration.v2.vmm.Vmm`. A step of a real monitor that it does not
have is one that the suite never tried.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_SET: Final = re.compile(
    r"vfio_migration_set_state \s*\([^)]*\) (?:new )?state (?P<set>\w+)"
    r"|in recover state (?P<recovered>\w+)"
)

#: The steps of the model, from state to state; a unit test drives it and compares.
STEPS: Final = frozenset(
    {
        ("RUNNING", "PRE_COPY"),
        ("RUNNING", "STOP"),
        ("RUNNING", "RESUMING"),
        ("RUNNING", "RUNNING_P2P"),
        ("RUNNING_P2P", "RUNNING"),
        ("RUNNING_P2P", "STOP"),
        ("PRE_COPY", "RUNNING"),
        ("PRE_COPY", "STOP_COPY"),
        ("PRE_COPY", "PRE_COPY_P2P"),
        ("PRE_COPY_P2P", "STOP_COPY"),
        ("STOP", "RUNNING"),
        ("STOP", "RUNNING_P2P"),
        ("STOP", "STOP_COPY"),
        ("STOP", "RESUMING"),
        ("STOP_COPY", "RUNNING"),
        ("STOP_COPY", "RUNNING_P2P"),
        ("STOP_COPY", "STOP"),
        ("RESUMING", "RUNNING"),
        ("RESUMING", "RUNNING_P2P"),
    }
)


def states_of(trace: str) -> list[str]:
    """Return the states that a monitor has set, by its own trace.

    >>> states_of("vfio_migration_set_state  (dev) new state PRE_COPY, recover state RUNNING")
    ['PRE_COPY']
    >>> states_of("dev: Failed setting device state to STOP. Setting device in recover state ERROR")
    ['ERROR']
    """
    return [found["set"] or found["recovered"] for found in _SET.finditer(trace)]


def unknown(states: Sequence[str], begun: str = "RUNNING") -> list[str]:
    """Return the steps between states that the model does not have.

    >>> unknown(["PRE_COPY", "STOP_COPY", "STOP"]), unknown(["PRE_COPY", "STOP"])
    ([], ['PRE_COPY > STOP'])
    """
    steps = pairwise([begun, *states])
    return [f"{a} > {b}" for a, b in steps if a != b and (a, b) not in STEPS]
