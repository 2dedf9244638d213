# SPDX-License-Identifier: GPL-2.0-only
"""The order in which a monitor sets states and moves data, compared with the model of a monitor.

The models are ``Vmm`` in :mod:`conformance.migration.v1.vmm` and its namesake of v2. A step of a
real monitor that they do not have is one that the suite never tried.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_SET: Final = re.compile(
    r"vfio_migration_set_state \s*\((?P<name>[^)]*)\) (?:new )?state (?P<set>\w+)"
    r"|(?P<failed>\S+): Failed setting [^\n]* in recover state (?P<recovered>\w+)"
    r"|vfio_pci_reset \s*\((?P<reset>[^)]*)\)"
)

_MOVED: Final = re.compile(
    r"(?P<event>vfio_save_block|vfio_save_buffer|vfio_load_state_device_data"
    r"|vfio_save_cleanup|vfio_load_cleanup) \s*\((?P<name>[^)]*)\)"
)

_ACCESS: Final = {
    "vfio_save_block": "read",
    "vfio_save_buffer": "read",  # of 7.2
    "vfio_load_state_device_data": "write",
    "vfio_save_cleanup": "close",
    "vfio_load_cleanup": "close",
}

_WORDS: Final = {"0": "STOP", "1": "RUNNING", "2": "STOP_COPY", "3": "PRE_COPY", "4": "RESUMING"}
"""Values of v1's device_state, of which QEMU prints the number, as v2 calls the states."""

_V1: Final = frozenset(
    {
        ("RUNNING", "PRE_COPY"),
        ("RUNNING", "STOP"),
        ("RUNNING", "RESUMING"),
        ("PRE_COPY", "RUNNING"),
        ("PRE_COPY", "STOP_COPY"),
        ("STOP", "RUNNING"),
        ("STOP", "STOP_COPY"),
        ("STOP_COPY", "RUNNING"),
        ("STOP_COPY", "STOP"),
        ("RESUMING", "RUNNING"),
    }
)

_V2: Final = frozenset(
    {
        ("RUNNING", "PRE_COPY"),
        ("RUNNING", "STOP"),
        ("RUNNING", "RESUMING"),
        ("RUNNING", "RUNNING_P2P"),
        ("RUNNING", "PRE_COPY_P2P"),  # in pre-copy by the monitor's record, and reset meanwhile
        ("RUNNING", "STOP_COPY"),
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


#: The steps of the models, from state to state; unit tests drive these and compare.
STEPS: Final = {"v1": _V1, "v2": _V2}


#: What the models do with the stream, by the state in which they do it.
ACCESSES: Final = {
    "v1": frozenset({("PRE_COPY", "read"), ("STOP_COPY", "read"), ("RESUMING", "write")}),
    "v2": frozenset(
        {
            ("PRE_COPY", "read"),
            ("STOP_COPY", "read"),
            ("STOP", "close"),
            ("PRE_COPY", "close"),  # of a save that is given up, as the next
            ("RUNNING", "close"),
            ("RESUMING", "write"),
            ("RESUMING", "close"),
        }
    ),
}


def states_of(trace: str) -> list[str]:
    """Return the states that a monitor has set, by its own trace; a reset sets RUNNING.

    >>> states_of("vfio_migration_set_state  (dev) new state PRE_COPY, recover state RUNNING")
    ['PRE_COPY']
    >>> states_of("vfio_migration_set_state  (dev) state 3")
    ['PRE_COPY']
    >>> states_of("dev: Failed setting device state to STOP. Setting device in recover state ERROR")
    ['ERROR']
    >>> states_of("vfio_pci_reset  (dev)")
    ['RUNNING']
    """
    found = [one["set"] or one["recovered"] or "RUNNING" for one in _SET.finditer(trace)]
    return [_WORDS.get(state, state) for state in found]


def by_function(trace: str) -> dict[str, list[str]]:
    """Return the states that a monitor has set, of each of its functions.

    >>> by_function('''vfio_migration_set_state (a) state STOP
    ... vfio_migration_set_state (b) state STOP
    ... a: Failed setting device state to RUNNING. Setting device in recover state STOP''')
    {'a': ['STOP', 'STOP'], 'b': ['STOP']}
    """
    found: dict[str, list[str]] = {}
    for one in _SET.finditer(trace):
        found.setdefault(one["name"] or one["failed"] or one["reset"], []).extend(states_of(one[0]))
    return found


def unknown(states: Sequence[str], protocol: str = "v2") -> list[str]:
    """Return the steps between states that the model does not have.

    >>> unknown(["PRE_COPY", "STOP_COPY", "STOP"]), unknown(["PRE_COPY", "STOP"])
    ([], ['PRE_COPY > STOP'])
    """
    known = STEPS[protocol]
    steps = pairwise(["RUNNING", *states])
    return [f"{a} > {b}" for a, b in steps if a != b and (a, b) not in known]


def accesses(trace: str) -> dict[str, list[tuple[str, str]]]:
    """Return what a monitor did with the stream of each of its functions, and in which state.

    >>> accesses('''vfio_migration_set_state (a) state STOP_COPY
    ... vfio_save_block (a) data_size 40
    ... vfio_migration_set_state (a) state STOP
    ... vfio_save_cleanup (a)''')
    {'a': [('STOP_COPY', 'read'), ('STOP', 'close')]}
    """
    now: dict[str, str] = {}
    found: dict[str, list[tuple[str, str]]] = {}
    for line in trace.splitlines():
        now |= {name: states[-1] for name, states in by_function(line).items()}
        if one := _MOVED.search(line):
            step = now.get(one["name"], "RUNNING"), _ACCESS[one["event"]]
            found.setdefault(one["name"], []).append(step)
    return found


def foreign(trace: str, protocol: str) -> list[str]:
    """Return what a monitor did with a stream and the model does not, each once.

    >>> foreign("vfio_load_state_device_data (a) size 40 ret 0", "v2")
    ['write in RUNNING']
    """
    made = {step for steps in accesses(trace).values() for step in steps}
    if protocol == "v1":  # without a descriptor there is nothing to close: QEMU 7.2 frees its own
        made = {step for step in made if step[1] != "close"}
    return [f"{access} in {state}" for state, access in sorted(made - ACCESSES[protocol])]
