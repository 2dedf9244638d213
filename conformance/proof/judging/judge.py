# SPDX-License-Identifier: GPL-2.0-only
"""Says which mutants the suite has killed, and for the right reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from conformance.events.kinds import TestOutcome
from conformance.proof.judging.trials import End, Outcome
from conformance.proof.mutants.mutant import Mutant


class Verdict(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"  # no test of a rule that it breaks has failed
    UNJUDGED = "not judged"  # the driver itself passes no test of a rule that it breaks
    LOST = "lost"  # the kernel died or hung, which is not the defect
    BROKEN = "broken"  # an edit does not apply, or it does not build
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Judged:
    """A mutant and its verdict.

    Attributes:
        mutant: The mutant.
        verdict: The verdict.
        killers: For each rule that it breaks the tests of the rule that failed.
        others: All other rules of which a test failed.
        ran: All rules of which a test was run.
        detail: Why it is not killed.
        seconds: How long it took.
        blind: The rules it breaks of which the driver itself passes no test that was run.
    """

    mutant: Mutant
    verdict: Verdict
    killers: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...] = ()
    ran: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0
    blind: tuple[str, ...] = ()

    @property
    def survived(self) -> tuple[str, ...]:
        """The rules that it breaks unnoticed, where a test could have noticed it."""
        none = (rule for rule, tests in self.killers.items() if not tests)
        return tuple(rule for rule in none if rule not in self.blind)


def failing(baseline: Outcome) -> dict[str, str]:
    """Return the tests that the driver itself fails, and why: they prove nothing of a mutant."""
    return {name: one.message for name, one in baseline.tests.items() if one.bad}


def judge(mutant: Mutant, outcome: Outcome, baseline: Outcome) -> Judged:
    """Return the verdict on a mutant.

    A test kills only for its own rules, and only if the driver itself passes it. A kernel that
    died or hung counts only where the mutant says that this is the defect.
    """
    good = {name for name, one in baseline.tests.items() if one.outcome is TestOutcome.PASSED}
    bad = {name: one for name, one in outcome.tests.items() if one.bad and name in good}
    lost = outcome.end in {End.DIED, End.HUNG}
    killers = {}
    for rule in mutant.rules:
        killers[rule] = tuple(name for name, one in bad.items() if rule in one.rules)
        if lost and mutant.crash:
            killers[rule] += (f"(the kernel {outcome.end})",)
    broken = {rule for one in bad.values() for rule in one.rules}
    able = {rule for name in good for rule in baseline.tests[name].rules}
    blind = tuple(rule for rule, tests in killers.items() if not tests and rule not in able)
    return Judged(
        mutant,
        _verdict(killers, blind, lost),
        killers,
        tuple(sorted(broken - set(mutant.rules))),
        tuple(sorted({rule for test in outcome.tests.values() for rule in test.rules})),
        "" if outcome.end is End.DONE else f"{outcome.end}: {outcome.detail}",
        outcome.seconds,
        blind,
    )


def _verdict(killers: Mapping[str, tuple[str, ...]], blind: tuple[str, ...], lost: bool) -> Verdict:
    alive = {rule for rule, tests in killers.items() if not tests}
    if not alive:
        return Verdict.KILLED
    if lost:
        return Verdict.LOST
    return Verdict.SURVIVED if alive - set(blind) else Verdict.UNJUDGED


def unjudged(mutant: Mutant, verdict: Verdict, detail: str = "") -> Judged:
    """Return the verdict on a mutant that was not tried."""
    return Judged(mutant, verdict, dict.fromkeys(mutant.rules, ()), detail=detail)
