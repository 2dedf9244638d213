# SPDX-License-Identifier: GPL-2.0-only
"""The order in which a monitor sets states and moves data, compared with the model of a monitor.

The models are ``Vmm`` in :mod:`conformance.migration.v1.vmm` and its namesake of v2. A step of a
real monitor that they do not have is one that the suite never tried.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_SET: Final = re.compile(
    r"vfio_migration_set_state \s*\((?P<name>[^)]*)\) (?:new )?state (?P<set>\w+)"
    r"|(?P<failed>\S+): Failed setting [^\n]* in recover state (?P<recovered>\w+)"
    r"|vfio_pci_reset \s*\((?P<reset>[^)]*)\)"
)

_ENTERED: Final = re.compile(
    r"vfio_migration_set_device_state \s*\((?P<name>[^)]*)\) state (?P<state>\w+)"
    r"|vfio_pci_reset \s*\((?P<reset>[^)]*)\)"
)
"""What QEMU 10 says when a state was set, after what it says when it tries to."""

_MOVED: Final = re.compile(
    r"(?P<event>vfio_save_block|vfio_save_buffer|vfio_load_state_device_data|vfio_save_cleanup"
    r"|vfio_load_cleanup|vfio_update_pending|vfio_state_pending_exact"
    r"|vfio_save_setup(?= .* data buffer)) \s*\((?P<name>[^)]*)\)"
)

_ACCESS: Final = {
    "vfio_save_block": "read",
    "vfio_save_buffer": "read",  # of 7.2
    "vfio_load_state_device_data": "write",
    "vfio_save_cleanup": "close",
    "vfio_load_cleanup": "close",
    "vfio_update_pending": "ask",  # of 7.2: pending_bytes
    "vfio_state_pending_exact": "ask",
    "vfio_save_setup": "ask",  # not of 7.2
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


#: What the models do with the stream: the state in which they do it, and what they did before.
#: To ask is to read pending_bytes, or MIG_DATA_SIZE and PRECOPY_INFO.
ACCESSES: Final = {
    "v1": frozenset(
        {
            ("PRE_COPY", "", "ask"),
            ("PRE_COPY", "ask", "ask"),
            ("PRE_COPY", "ask", "read"),
            ("PRE_COPY", "read", "ask"),
            ("STOP_COPY", "", "ask"),
            ("STOP_COPY", "ask", "ask"),
            ("STOP_COPY", "ask", "read"),
            ("STOP_COPY", "read", "ask"),
            ("RUNNING", "ask", "ask"),  # of a machine that went on in pre-copy
            ("RUNNING", "read", "ask"),
            ("RESUMING", "", "write"),
            ("RESUMING", "write", "write"),
        }
    ),
    "v2": frozenset(
        {
            ("RUNNING", "", "ask"),
            ("RUNNING", "ask", "ask"),
            ("RUNNING", "read", "ask"),  # in pre-copy by the monitor's record, and reset meanwhile
            ("STOP", "", "ask"),
            ("STOP", "ask", "ask"),
            ("PRE_COPY", "", "ask"),
            ("PRE_COPY", "ask", "ask"),
            ("PRE_COPY", "ask", "read"),
            ("PRE_COPY", "read", "read"),
            ("PRE_COPY", "read", "ask"),
            ("PRE_COPY", "ask", "close"),  # of a save that is given up, as the next
            ("PRE_COPY", "read", "close"),
            ("STOP_COPY", "", "read"),
            ("STOP_COPY", "ask", "read"),
            ("STOP_COPY", "read", "read"),
            ("STOP", "read", "close"),
            ("RUNNING", "ask", "close"),
            ("RUNNING", "read", "close"),
            ("RESUMING", "", "write"),
            ("RESUMING", "write", "write"),
            ("RESUMING", "", "close"),
            ("RESUMING", "write", "close"),
            ("RUNNING", "write", "close"),  # of a machine that starts at once
        }
    ),
}

_SAVING: Final = ("PRE_COPY", "PRE_COPY_P2P", "STOP_COPY")


@dataclass
class Session:
    """What a function is in, and what was last done with its stream.

    Attributes:
        state: The state that was set.
        before: The last access of the session; empty if there was none.
        opened: Whether there is a file.
    """

    state: str = "RUNNING"
    before: str = ""
    opened: bool = False

    def enter(self, state: str) -> None:
        """Note that a state was set; a monitor that has a file does not take another."""
        begins = state in _SAVING and self.state not in _SAVING
        if (begins or state == "RESUMING") and not self.opened:
            self.before, self.opened = "", True
        self.state = state

    def access(self, what: str) -> tuple[str, str, str]:
        """Note an access, and return it with the state and what was done before."""
        made = self.state, self.before, what
        self.before = "" if what == "close" else what
        self.opened = self.opened and what != "close"
        return made


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


def accesses(trace: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return what a monitor did with the stream of each function: state, what was before, what.

    >>> accesses('''vfio_migration_set_state (a) state STOP_COPY
    ... vfio_save_block (a) data_size 40
    ... vfio_migration_set_state (a) state STOP
    ... vfio_save_cleanup (a)
    ... vfio_save_cleanup (a)''')  # the second has nothing to close
    {'a': [('STOP_COPY', '', 'read'), ('STOP', 'read', 'close')]}
    """
    sessions: dict[str, Session] = {}
    found: dict[str, list[tuple[str, str, str]]] = {}
    entered = _entered if "vfio_migration_set_device_state" in trace else _tried
    for line in trace.splitlines():
        for name, state in entered(line):
            sessions.setdefault(name, Session()).enter(state)
        if one := _MOVED.search(line):
            session = sessions.setdefault(one["name"], Session())
            what = _ACCESS[one["event"]]
            if what != "close" or session.opened:
                found.setdefault(one["name"], []).append(session.access(what))
    return found


def _tried(line: str) -> list[tuple[str, str]]:
    return [(name, states[-1]) for name, states in by_function(line).items()]


def _entered(line: str) -> list[tuple[str, str]]:
    return [
        (one["name"] or one["reset"], one["state"] or "RUNNING") for one in _ENTERED.finditer(line)
    ]


def foreign(trace: str, protocol: str) -> list[str]:
    """Return what a monitor did with a stream and the model does not, each once.

    >>> foreign("vfio_load_state_device_data (a) size 40 ret 0", "v2")
    ['write in RUNNING']
    """
    made = {step for steps in accesses(trace).values() for step in steps}
    if protocol == "v1":  # without a descriptor there is nothing to close: QEMU 7.2 frees its own
        made = {step for step in made if step[2] != "close"}
    return [
        f"{what} in {state}" + (f" after {before}" if before else "")
        for state, before, what in sorted(made - ACCESSES[protocol])
    ]
