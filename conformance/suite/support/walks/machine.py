# SPDX-License-Identifier: GPL-2.0-only
"""Random walks: hypothesis chooses the steps, and finds a short walk where one goes wrong.

Needs hypothesis, which the suite does not otherwise; so it is imported by its test only.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import hypothesis.errors
from hypothesis import HealthCheck, Phase, stateful
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine

from conformance.plugin.checks import RequirementFailed
from conformance.suite.support.walks.walker import Walker
from conformance.vfio import trace

_STEPS = 40
"""Steps of a walk, at most."""

# There is no setting for it. The default of five minutes would look as if the device hung.
engine.MAX_SHRINKING_SECONDS = 15

_SHORTENING = 10.0
"""Seconds for what hypothesis leaves to do."""

#: What the steps of any walk choose from: pages and their number, values of registers.
PAGES = st.integers(0, 3)
COUNTS = st.integers(1, 4)
VALUES = st.integers(0, 0xFFFFFFFF)


def only_if(condition: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the decorator of a step that can be taken only if something is so of the machine.

    hypothesis looks up the name of each condition whenever it chooses a step, and of one without a
    name the source: half of what it does.
    """
    condition.__name__ = "condition"
    return stateful.precondition(condition)


class Step(NamedTuple):
    """A step of a walk: the method of the walker, and its arguments."""

    name: str
    arguments: tuple[int | str, ...]

    def __str__(self) -> str:
        shown = map(_shown, self.arguments)
        return f"walker.{self.name}({', '.join(shown)})"


def _shown(argument: int | str) -> str:
    if isinstance(argument, str):
        return f'"{argument}"'
    return f"{argument:#x}" if argument > 9 else str(argument)


class Machine(stateful.RuleBasedStateMachine):
    """A walk; its class has been given what all walks share. A protocol adds the steps.

    Attributes:
        walker: Takes the steps.
        script: The steps of this walk.
        failed: The steps of each walk that went wrong, and how.
    """

    walker: Walker
    script: list[Step]
    failed: list[tuple[list[Step], RequirementFailed]]

    def __init__(self) -> None:
        super().__init__()
        self.script.clear()
        if not self.walker.begin_anew():
            hypothesis.reject()  # the walk that went wrong cannot be shortened

    def teardown(self) -> None:
        """Settle the device, and end the walk."""
        # A walk leaves a good device, or it is this walk that goes wrong, and not the next.
        if not self.walker.spoilt:
            self.step("settle")
        self.walker.end()

    def step(self, name: str, *arguments: int | str) -> None:
        """Take a step, and note it."""
        self.script.append(Step(name, arguments))
        try:
            getattr(self.walker, name)(*arguments)
        except RequirementFailed as failure:
            self.walker.spoilt = True
            self.failed.append((list(self.script), failure))
            raise

    # Preconditions keep steps away that would do nothing, so that walks get somewhere.

    @stateful.rule(region=st.integers(0, 1), page=PAGES, pages=COUNTS)
    def map(self, region: int, page: int, pages: int) -> None:
        """Map pages."""
        self.step("map", region, page, pages)

    @only_if(lambda self: self.walker.mapped)
    @stateful.rule(mapping=PAGES, first=PAGES, pages=COUNTS)
    def unmap(self, mapping: int, first: int, pages: int) -> None:
        """Unmap some of the pages."""
        self.step("unmap", mapping, first, pages)

    @only_if(lambda self: self.walker.mapped)
    @stateful.rule()
    def unmap_all(self) -> None:
        """Unmap every page."""
        self.step("unmap_all")

    @only_if(lambda self: self.walker.oracle.may_write_registers())
    @stateful.rule(register=PAGES, value=VALUES)
    def put(self, register: int, value: int) -> None:
        """Write a register."""
        self.step("put", register, value)

    @only_if(lambda self: self.walker.oracle.registers)
    @stateful.rule()
    def look(self) -> None:
        """Compare the registers."""
        self.step("look")

    @stateful.rule(number=st.integers(0, 7))
    def reset(self, number: int) -> None:
        """Reset the device, one time in eight."""
        if number == 7:  # seldom, for it takes long
            self.step("reset")


def walk(
    kind: type[Machine],
    walker: Walker,
    walks: int,
    seed: int,
    say: Callable[[str], None] = trace.note,
) -> None:
    """Take random walks.

    Args:
        kind: Chooses the steps.
        walker: Takes the steps.
        walks: How many walks.
        seed: Chooses them.
        say: Takes a ready-to-run test of the shortest walk that goes wrong.

    Raises:
        RequirementFailed: One of them goes wrong.
    """
    failed: list[tuple[list[Step], RequirementFailed]] = []
    parts = {"walker": walker, "script": [], "failed": failed}
    machine: Any = type("Walk", (kind,), parts)
    settings = hypothesis.settings(
        max_examples=walks,
        stateful_step_count=_STEPS,
        database=None,  # a guest forgets it
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        stateful.run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)
    except RequirementFailed:
        script, shown = shorten(walker, *failed[-1])
        _tell(walker, script, shown, say)
        raise shown from None
    except hypothesis.errors.Flaky:
        # It did not go wrong again, so it could not be shortened, which excuses nothing.
        script, last = failed[-1]
        _tell(walker, script, last, say)
        if walker.begin_anew():
            say("the walk does not go wrong every time")
        else:
            say("the device does not recover when it is opened again, so the walk is not shortened")
        raise last from None


def shorten(
    walker: Walker, script: list[Step], failure: RequirementFailed
) -> tuple[list[Step], RequirementFailed]:
    """Drop each step without which the same rule is broken still.

    hypothesis leaves some of those on which its choice of the others depended. The trace is that
    of the shortened walk.
    """
    deadline = time.monotonic() + _SHORTENING
    for at in range(len(script) - 1, -1, -1):
        if time.monotonic() > deadline:
            break
        shorter = [*script[:at], *script[at + 1 :]]
        again = _fails(walker, shorter)
        if again and again.rule == failure.rule:
            script, failure = shorter, again
    return script, _fails(walker, script) or failure


def _fails(walker: Walker, script: list[Step]) -> RequirementFailed | None:
    if not walker.begin_anew():
        return None
    try:
        for step in script:
            getattr(walker, step.name)(*step.arguments)
    except RequirementFailed as failure:
        walker.spoilt = True
        return failure
    finally:
        with trace.quiet():
            walker.end()
    return None


def _tell(
    walker: Walker, script: list[Step], failure: RequirementFailed, say: Callable[[str], None]
) -> None:
    room = next(kind.__module__ for kind in type(walker).__mro__ if kind.__name__ == "Walker")
    say("\n".join(as_test(script, failure.rule, room)))  # in one piece, of which nothing is dropped


def as_test(script: list[Step], rule: str, room: str) -> list[str]:
    """Return the lines of a test that takes the steps of a walk."""
    return [
        "the same as a test, which can be a file conformance/suite/test_NAME.py:",
        "import pytest",
        f"from {room} import Walker",
        f'@pytest.mark.rule("{rule}")',
        "def test_walk_that_went_wrong(walker: Walker) -> None:",
        f'    """Take {len(script)} steps: each has the outcome that the rules say."""',
        *(f"    {line}" for line in script),
    ]
