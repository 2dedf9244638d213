# SPDX-License-Identifier: GPL-2.0-only
"""Random walks: steps are chosen by chance, and a walk that goes wrong is shortened.

A seed and a number make a walk. It is drawn by little code of its own, because under emulation a
library for that takes ten times as long as the steps.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from conformance.plugin.checks import RequirementFailed
from conformance.suite.support.walks.walker import Walker
from conformance.vfio import trace

_STEPS: Final = 40
"""Choices of a walk."""

_SHORTENING: Final = 20.0
"""Seconds to shorten a walk: in more it would look as if the device hung."""

_OMITTED: Final = (0.0, 0.2, 0.5)
"""Shares of the choices that a walk does without: of fewer kinds, each comes more often."""

Draw = Callable[[random.Random], int | str]


def one_of(*values: int | str) -> Draw:
    """Draw one of some values."""
    return lambda rng: rng.choice(values)


def between(first: int, last: int) -> Draw:
    """Draw a number, both ends included; the ends come more often than others."""
    return lambda rng: rng.choice((first, last, *(rng.randint(first, last) for _ in range(4))))


class Step(NamedTuple):
    """A step of a walk: the method of the walker, and its arguments."""

    name: str
    arguments: tuple[int | str, ...]

    def __str__(self) -> str:
        shown = map(_shown, self.arguments)
        return f"walker.{self.name}({', '.join(shown)})"

    def take(self, walker: Walker) -> None:
        """Take it. Raises :class:`RequirementFailed`; the walker is spoilt then."""
        try:
            getattr(walker, self.name)(*self.arguments)
        except RequirementFailed:
            walker.spoilt = True
            raise


def _shown(argument: int | str) -> str:
    if isinstance(argument, str):
        return f'"{argument}"'
    return f"{argument:#x}" if argument > 9 else str(argument)


def _always(_walker: Any) -> bool:
    return True


def saving(walker: Any) -> bool:
    """Whether the device is saved, as the oracle knows it."""
    return bool(walker.oracle.state.saving)


def in_state(state: Any) -> Callable[[Any], bool]:
    """Return whether the device is in a state of the protocol, as the oracle knows it."""
    return lambda walker: walker.oracle.state is state


@dataclass(frozen=True)
class Choice:
    """Steps that a walk can go on with.

    Attributes:
        steps: Each with its name and what draws its arguments, or what they are.
        when: Whether they lead somewhere; others are kept away, so that walks get on.
        chance: How often it is taken when it is drawn: what takes long comes seldom.
    """

    steps: tuple[tuple[str | int | Draw, ...], ...]
    when: Callable[[Any], object] = _always
    chance: float = 1.0

    def drawn(self, rng: random.Random) -> Iterator[Step]:
        """Yield the steps with their arguments."""
        for name, *arguments in self.steps:
            drawn = (each(rng) if callable(each) else each for each in arguments)
            yield Step(str(name), tuple(drawn))


_PAGES, _COUNTS = between(0, 3), between(1, 4)

COMMON: Final = (
    Choice((("map", between(0, 1), _PAGES, _COUNTS),)),
    Choice((("unmap", _PAGES, _PAGES, _COUNTS),), lambda walker: walker.mapped),
    Choice((("unmap_all",),), lambda walker: walker.mapped),
    Choice(
        (("put", _PAGES, between(0, 0xFFFFFFFF)),),
        lambda walker: walker.oracle.may_write_registers(),
    ),
    Choice((("look",),), lambda walker: walker.oracle.registers),
    Choice((("reset",),), chance=1 / 8),
)
"""What walks of any protocol can do."""


def walk(
    choices: Sequence[Choice],
    walker: Walker,
    walks: int,
    seed: int,
    say: Callable[[str], None] = trace.note,
) -> None:
    """Take random walks.

    Args:
        choices: What they can go on with.
        walker: Takes the steps.
        walks: How many walks.
        seed: Chooses them.
        say: Takes a ready-to-run test of the shortest walk that goes wrong.

    Raises:
        RequirementFailed: One of them goes wrong.
    """
    for number in range(walks):
        script: list[Step] = []
        try:
            _walk(choices, walker, random.Random(f"{seed} {number}"), script)  # noqa: S311
        except RequirementFailed as failure:
            raise _explained(walker, script, failure, say) from None


def _walk(
    choices: Sequence[Choice], walker: Walker, rng: random.Random, script: list[Step]
) -> None:
    """Take one walk; the script has the steps that were begun."""
    omitted = rng.choice(_OMITTED)
    kept = [choice for choice in choices if rng.random() >= omitted]
    walker.begin_anew()
    try:
        for _ in range(_STEPS):
            possible = [one for one in kept or choices if one.when(walker)]
            choice = rng.choice(possible) if possible else None
            for step in choice.drawn(rng) if choice and rng.random() < choice.chance else ():
                script.append(step)
                step.take(walker)
        # A walk leaves a good device, or it is this walk that goes wrong, and not the next.
        script.append(Step("settle", ()))
        script[-1].take(walker)
    finally:
        walker.end()


def _explained(
    walker: Walker, script: list[Step], failure: RequirementFailed, say: Callable[[str], None]
) -> RequirementFailed:
    """Show the walk that went wrong, shortened if that is possible, and return its failure."""
    if _fails(walker, script):
        script, failure = shorten(walker, script, failure)
        _tell(walker, script, failure, say)
        return failure
    # It did not go wrong again, so it cannot be shortened, which excuses nothing.
    _tell(walker, script, failure, say)
    if walker.begin_anew():
        say("the walk does not go wrong every time")
    else:
        say("the device does not recover when it is opened again, so the walk is not shortened")
    return failure


def shorten(
    walker: Walker, script: list[Step], failure: RequirementFailed
) -> tuple[list[Step], RequirementFailed]:
    """Drop steps without which the same rule is broken still: many at a time, then one by one.

    The trace is that of the shortened walk.
    """
    deadline = time.monotonic() + _SHORTENING
    size = max(len(script) // 2, 1)
    while size and time.monotonic() < deadline:
        before = len(script)
        for at in range(len(script) - size, -1, -size):
            if time.monotonic() > deadline:
                break
            shorter = [*script[:at], *script[at + size :]]
            again = _fails(walker, shorter)
            if again and again.rule == failure.rule:
                script, failure = shorter, again
        if size > 1 or len(script) == before:
            size //= 2
    return script, _fails(walker, script) or failure


def _fails(walker: Walker, script: list[Step]) -> RequirementFailed | None:
    if not walker.begin_anew():
        return None
    try:
        for step in script:
            step.take(walker)
    except RequirementFailed as failure:
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
