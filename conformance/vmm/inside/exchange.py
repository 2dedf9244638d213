# SPDX-License-Identifier: GPL-2.0-only
"""A guest that exchanges numbered packets while it is migrated, and the verdict on them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from conformance.vmm.inside.machine import Machine
from conformance.vmm.inside.network import Peer, number_of, physical_of, set_address
from conformance.vmm.inside.packets import Count
from conformance.vmm.inside.qmp import Lost

ROUND: Final = 128
"""Packets that must come each way for all of the rings to have been used: twice their length."""

_FLOW: Final = 120.0
_STILL: Final = 1.0
"""Seconds for packets to flow, and without any for the last to have come."""

_PAUSE: Final = 0.1


class Exchange:
    """Packets between the guest that has a function and the physical function.

    What the physical function holds is set for source and destination, as an administrator would:
    the address of the guest. To set it up or down resets the functions, so it is set up before
    there is a guest that uses one.

    Args:
        functions: The function that the guest has, and where it will go.
        address: Its address.

    Raises:
        Lost: The link does not come up.
        OSError: The physical function cannot be set up.
    """

    def __init__(self, functions: Sequence[Path], address: bytes) -> None:
        interface = physical_of(functions[0])
        self._address = address
        self._begun = False
        self._peer = Peer(interface, address)
        try:
            for function in functions:
                set_address(interface.name, number_of(function), address)
        except BaseException:
            self._peer.close()
            raise

    def begin(self, machine: Machine) -> None:
        """Begin with a guest that runs.

        Raises:
            Lost: No packets come.
        """
        self._begun = True
        self._peer.send()
        machine.guest.ask("use 0")
        found = machine.guest.ask(f"net start {self._peer.address.hex(':')}")
        if found != self._address.hex(":"):
            raise Lost(f"the guest got the address {found}, not {self._address.hex(':')}")
        self.flows(machine)

    def flows(self, machine: Machine) -> None:
        """Wait until packets have come each way, so many that all of the rings were used.

        Raises:
            Lost: They do not.
        """
        there, here = self._received(machine)
        deadline = time.monotonic() + _FLOW
        while True:
            now_there, now_here = self._received(machine)
            if min(now_there - there, now_here - here) >= ROUND:
                return
            self._peer.check()
            if time.monotonic() > deadline:
                raise Lost(
                    f"packets do not flow: within {_FLOW:g} s came {now_there - there} to the "
                    f"guest and {now_here - here} from it, {ROUND} are wanted; "
                    f"the guest counts {machine.guest.ask('net count')}"
                )
            time.sleep(_PAUSE)

    def end(self, machine: Machine) -> dict[str, Count]:
        """Stop both ends when the last packet has come, and return what became of all.

        Raises:
            Lost: The guest cannot send what it has, or there was none.
        """
        if not self._begun:
            raise Lost("no guest has exchanged packets")
        self._peer.rest()
        machine.guest.ask("net rest")
        before, quiet = self._state(machine), time.monotonic()
        deadline = quiet + _FLOW
        while time.monotonic() < quiet + _STILL or before[-1]:
            time.sleep(_PAUSE)
            state = self._state(machine)
            if state != before:
                before, quiet = state, time.monotonic()
            if time.monotonic() > deadline:
                raise Lost(f"the guest does not get rid of {before[-1]} packets")
        _, sent, received, doubled, corrupted, _, _ = before
        machine.guest.ask("net stop")
        self._peer.check()
        tally = self._peer.tally
        return {
            "to the guest": Count(self._peer.sent, received, doubled, corrupted),
            "from the guest": Count(sent, tally.received, tally.doubled, tally.corrupted),
        }

    def close(self) -> None:
        """End the peer."""
        self._peer.close()

    def _received(self, machine: Machine) -> tuple[int, int]:
        here, _, there, *_ = self._state(machine)
        return there, here

    def _state(self, machine: Machine) -> list[int]:
        """Return what the peer has received, and all that the guest counts (net.c)."""
        words = machine.guest.ask("net count").split()
        return [self._peer.tally.received, *(int(word) for word in words)]
