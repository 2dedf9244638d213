# SPDX-License-Identifier: GPL-2.0-only
"""From each rule to the tests that check it, and to the mutants that show that they can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conformance.proof.mutants import mutant as mutants
from conformance.proof.mutants.mutant import Mutant
from conformance.requirements import Requirement


@dataclass(frozen=True)
class Traced:
    """A rule with what belongs to it.

    Attributes:
        rule: The rule.
        tests: The tests that check it.
        mutants: The mutants that break it.
        exempt: Why there is no mutant, if it is known that there can be none.
    """

    rule: Requirement
    tests: tuple[str, ...]
    mutants: tuple[str, ...]
    exempt: str


def trace(
    rules: Mapping[str, Requirement],
    tests: Mapping[str, Sequence[str]],
    every: Mapping[str, Mutant],
    exempt: Mapping[str, str],
) -> list[Traced]:
    """Return each rule with its tests and mutants, in the order of the catalogue.

    Args:
        rules: The catalogue.
        tests: The tests of each rule.
        every: The mutants.
        exempt: Rules without a mutant, with the reason.
    """
    shown = mutants.by_rule(every)
    return [
        Traced(
            rule,
            tuple(tests.get(rule.id, ())),
            tuple(shown.get(rule.id, ())),
            exempt.get(rule.id, ""),
        )
        for rule in rules.values()
    ]


def gaps(traced: Sequence[Traced]) -> list[str]:
    """Return what is missing: of each MUST rule a test, and a mutant or the reason for none."""
    missing = []
    for one in traced:
        if one.rule.level == "MUST" and not one.tests:
            missing.append(f"{one.rule.id} has no test")
        if one.rule.level == "MUST" and not one.mutants and not one.exempt:
            missing.append(
                f"{one.rule.id} has no mutant; write one, or say in {mutants.EXEMPT} why not"
            )
        if one.mutants and one.exempt:
            missing.append(f"{one.rule.id} has a mutant, so {mutants.EXEMPT} is wrong about it")
    return missing
