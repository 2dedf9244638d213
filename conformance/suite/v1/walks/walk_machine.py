# SPDX-License-Identifier: GPL-2.0-only
"""The steps of random walks in version 1. Needs hypothesis, so its test alone imports it."""

from collections.abc import Callable

from hypothesis import stateful
from hypothesis import strategies as st

from conformance.model.v1.states import State
from conformance.suite.support import walk_machine
from conformance.suite.support.walk_machine import COUNTS, PAGES, VALUES, Machine
from conformance.suite.v1.walks.walker import Walker
from conformance.vfio import trace

_STATES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 1 << 31)


class _Machine(Machine):
    """A walk of :class:`~conformance.suite.v1.walks.walker.Walker`."""

    walker: Walker

    # Preconditions keep steps away that would do nothing, so that walks get somewhere.

    @stateful.rule(value=st.sampled_from(_STATES))
    def write_state(self, value: int) -> None:
        self.step("write_state", value)

    @stateful.rule()
    def read_state(self) -> None:
        self.step("read_state")

    @stateful.rule(region=st.integers(0, 1), page=PAGES, pages=COUNTS)
    def map(self, region: int, page: int, pages: int) -> None:
        self.step("map", region, page, pages)

    @stateful.precondition(lambda self: self.walker.mapped)
    @stateful.rule(mapping=PAGES, first=PAGES, pages=COUNTS)
    def unmap(self, mapping: int, first: int, pages: int) -> None:
        self.step("unmap", mapping, first, pages)

    @stateful.precondition(lambda self: self.walker.mapped)
    @stateful.rule()
    def unmap_all(self) -> None:
        self.step("unmap_all")

    @stateful.precondition(lambda self: self.walker.oracle.state.saving)
    @stateful.rule()
    def poll(self) -> None:
        self.step("poll")

    @stateful.precondition(lambda self: self.walker.oracle.state.saving)
    @stateful.rule(everything=st.booleans())
    def take(self, everything: bool) -> None:
        self.step("take_all" if everything else "take")

    @stateful.precondition(lambda self: self.walker.oracle.state is State.RUNNING)
    @stateful.rule()
    def save(self) -> None:
        self.step("write_state", 2)
        self.step("take_all")

    @stateful.precondition(lambda self: self.walker.oracle.state is State.RESUMING)
    @stateful.rule(everything=st.booleans())
    def give(self, everything: bool) -> None:
        self.step("give_all" if everything else "give")

    @stateful.precondition(lambda self: self.walker.oracle.state is State.RESUMING)
    @stateful.rule(length=st.integers(1, 4096))
    def give_wrong(self, length: int) -> None:
        self.step("give_wrong", length)

    @stateful.precondition(lambda self: self.walker.may_resume)
    @stateful.rule()
    def resume(self) -> None:
        self.step("write_state", 4)
        self.step("give_all")
        self.step("write_state", 1)

    @stateful.precondition(lambda self: self.walker.oracle.may_write_registers())
    @stateful.rule(register=PAGES, value=VALUES)
    def put(self, register: int, value: int) -> None:
        self.step("put", register, value)

    @stateful.precondition(lambda self: self.walker.oracle.registers)
    @stateful.rule()
    def look(self) -> None:
        self.step("look")

    @stateful.rule(number=st.integers(0, 7))
    def reset(self, number: int) -> None:
        if number == 7:  # seldom, for it takes long
            self.step("reset")


def walk(walker: Walker, walks: int, seed: int, say: Callable[[str], None] = trace.note) -> None:
    """Take random walks, as :func:`~conformance.suite.support.walk_machine.walk` does."""
    walk_machine.walk(_Machine, walker, walks, seed, say)
