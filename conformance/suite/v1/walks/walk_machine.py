# SPDX-License-Identifier: GPL-2.0-only
"""The steps of random walks in version 1. Needs hypothesis, so its test alone imports it."""

from collections.abc import Callable

from hypothesis import stateful
from hypothesis import strategies as st

from conformance.model.v1.states import State
from conformance.suite.support.walks import machine as walk_machine
from conformance.suite.support.walks.machine import Machine, only_if
from conformance.suite.v1.walks.walker import Walker
from conformance.vfio import trace

_STATES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 1 << 31)
_RESETS = ("",) * 14 + ("config-space", "sysfs")
"""Seldom, for they take long. A hot reset may be one of others, too."""


class _Machine(Machine):
    """A walk of :class:`~conformance.suite.v1.walks.walker.Walker`."""

    walker: Walker

    @stateful.rule(value=st.sampled_from(_STATES))
    def write_state(self, value: int) -> None:
        self.step("write_state", value)

    @only_if(lambda self: self.walker.space)
    @stateful.rule(value=st.sampled_from(_STATES))
    def write_state_undecoded(self, value: int) -> None:
        self.step("write_state_undecoded", value)

    @only_if(lambda self: self.walker.space)
    @stateful.rule(on=st.integers(0, 1))
    def set_master(self, on: int) -> None:
        self.step("set_master", on)

    @only_if(lambda self: self.walker.space)
    @stateful.rule()
    def read_master(self) -> None:
        self.step("read_master")

    @only_if(lambda self: self.walker.space)
    @stateful.rule(way=st.sampled_from(_RESETS))
    def reset_by(self, way: str) -> None:
        if way:
            self.step("reset_by", way)

    @stateful.rule()
    def read_state(self) -> None:
        self.step("read_state")

    @only_if(lambda self: self.walker.oracle.state.saving)
    @stateful.rule()
    def poll(self) -> None:
        self.step("poll")

    @only_if(lambda self: self.walker.oracle.state.saving)
    @stateful.rule(everything=st.booleans())
    def take(self, everything: bool) -> None:
        self.step("take_all" if everything else "take")

    @only_if(lambda self: self.walker.oracle.state is State.RUNNING)
    @stateful.rule()
    def save(self) -> None:
        self.step("write_state", 2)
        self.step("take_all")

    @only_if(lambda self: self.walker.oracle.state is State.RESUMING)
    @stateful.rule(everything=st.booleans())
    def give(self, everything: bool) -> None:
        self.step("give_all" if everything else "give")

    @only_if(lambda self: self.walker.oracle.state is State.RESUMING)
    @stateful.rule(length=st.integers(1, 4096))
    def give_wrong(self, length: int) -> None:
        self.step("give_wrong", length)

    @only_if(lambda self: self.walker.may_resume)
    @stateful.rule()
    def resume(self) -> None:
        self.step("write_state", 4)
        self.step("give_all")
        self.step("write_state", 1)


def walk(walker: Walker, walks: int, seed: int, say: Callable[[str], None] = trace.note) -> None:
    """Take random walks, as :func:`~conformance.suite.support.walks.machine.walk` does."""
    walk_machine.walk(_Machine, walker, walks, seed, say)
