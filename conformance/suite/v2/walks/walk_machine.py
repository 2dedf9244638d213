# SPDX-License-Identifier: GPL-2.0-only
"""The steps of random walks in version 2. Needs hypothesis, so its test alone imports it."""

from collections.abc import Callable

from hypothesis import stateful
from hypothesis import strategies as st

from conformance.model.v2.fsm import State
from conformance.suite.support.walks import machine as walk_machine
from conformance.suite.support.walks.machine import Machine, only_if
from conformance.suite.v2.walks.walker import Walker
from conformance.vfio import trace

_STATES = (*range(9), *range(1, 8), 1 << 31)
_SIZES = st.sampled_from((1, 5, 64, 4096, 1 << 16))


class _Machine(Machine):
    """A walk of :class:`~conformance.suite.v2.walks.walker.Walker`."""

    walker: Walker

    @stateful.rule(value=st.sampled_from(_STATES))
    def set_state(self, value: int) -> None:
        self.step("set_state", value)

    @stateful.rule()
    def get_state(self) -> None:
        self.step("get_state")

    @only_if(lambda self: self.walker.oracle.state.saving)
    @stateful.rule(size=_SIZES)
    def take(self, size: int) -> None:
        self.step("take", size)

    @only_if(lambda self: self.walker.oracle.state.saving)
    @stateful.rule()
    def take_all(self) -> None:
        self.step("take_all")

    @only_if(lambda self: self.walker.oracle.state is State.RUNNING)
    @stateful.rule()
    def save(self) -> None:
        self.step("set_state", State.STOP_COPY)
        self.step("take_all")

    @only_if(lambda self: self.walker.oracle.state is State.RESUMING)
    @stateful.rule(size=_SIZES)
    def give(self, size: int) -> None:
        self.step("give", size)

    @only_if(lambda self: self.walker.oracle.state is State.RESUMING)
    @stateful.rule(length=st.integers(1, 4096))
    def give_wrong(self, length: int) -> None:
        self.step("give_wrong", length)

    @only_if(lambda self: self.walker.may_resume)
    @stateful.rule(then=st.sampled_from((State.RUNNING, State.STOP, State.STOP_COPY)))
    def resume(self, then: int) -> None:
        self.step("set_state", State.RESUMING)
        self.step("give_all")
        self.step("set_state", then)


def walk(walker: Walker, walks: int, seed: int, say: Callable[[str], None] = trace.note) -> None:
    """Take random walks, as :func:`~conformance.suite.support.walks.machine.walk` does."""
    walk_machine.walk(_Machine, walker, walks, seed, say)
