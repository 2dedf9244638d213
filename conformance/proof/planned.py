# SPDX-License-Identifier: GPL-2.0-only
"""Builds faulty drivers, lets the suite judge each, and lists those it did not notice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from conformance.lab.guest.payload import Trial
from conformance.proof.judging.build import Built
from conformance.proof.judging.judge import Judged, Verdict, failing, judge, unjudged
from conformance.proof.judging.pipeline import BASELINE, Proof, Say, Wanted
from conformance.proof.judging.trials import Outcome
from conformance.proof.mutants.mutant import EditError, Mutant
from conformance.proof.output import junit
from conformance.proof.output import matrix as report
from conformance.proof.output.page import Proved, Sheet
from conformance.running import selection

WALKS = "/walks/"
"""In the names of random walks, which take no part."""


def run(
    mutants: Mapping[str, Mutant],
    wanted: Wanted,
    results: Path,
    say: Say,
    sheet: Sheet | None = None,
) -> bool:
    """Judge the suite by mutants.

    Args:
        mutants: The mutants, all of the driver that is wanted.
        wanted: That driver, and where.
        results: Folder of the run; outcomes that are there already are not tried again.
        say: Prints lines for the user.
        sheet: The page that shows these mutants as well.

    Returns:
        Whether each mutant was killed for its reason, and the driver itself passes.

    Raises:
        ConformanceError: The lab failed.
        KpatchError: The driver does not build.
    """
    results = results.absolute()
    proof = Proof(wanted, results, say)
    broken, built = _build(mutants, proof, say)
    fatal = selection.about(wanted.fatal) if wanted.fatal else {}

    def judged(name: str) -> Judged | None:
        own = _own(name) if name in mutants and mutants[name].sound else BASELINE
        if not {name, own} <= proof.outcomes.keys():
            return broken.get(name)
        return judge(mutants[name], proof.outcomes[name], proof.outcomes[own])

    def describe(outcome: Outcome, _baseline: Outcome) -> str:
        if outcome.name not in mutants:
            return f"{outcome.name}: {len(failing(outcome))} tests fail"
        one = judged(outcome.name)
        return report.line(one) if one else f"{outcome.name}: is judged at the end"

    try:
        proof.try_all(_plan(mutants, built, fatal), describe)
    finally:
        every = [
            judged(name) or unjudged(mutant, Verdict.NOT_RUN) for name, mutant in mutants.items()
        ]
        report.write(results, every, proof.unfit, fatal)
        # What a stranger gets wrong by itself is a finding, and no reason to doubt the suite.
        known = proof.unfit if wanted.stranger else {}
        unfit = {} if wanted.stranger else proof.unfit
        junit.write(results, every, unfit)
        if sheet:
            foreign = bool(wanted.stranger)
            sheet.add(Proved(wanted.driver, every, proof.unfit, fatal, foreign=foreign))
    if known:
        say(f"{len(known)} tests fail with {wanted.stranger} as it is: see docs/findings.md.")
    if fatal:
        say(f"{len(fatal)} tests are not run, {wanted.stranger} as it is kills the kernel in them.")
    good = _conclude(every, unfit, results, say)
    say(proof.time())
    return good


def _build(
    mutants: Mapping[str, Mutant], proof: Proof, say: Say
) -> tuple[dict[str, Judged], dict[str, Built]]:
    """Return the verdict on mutants that cannot be built, and the modules of all others."""
    broken: dict[str, Judged] = {}
    edited: dict[str, dict[str, str]] = {BASELINE: proof.sources}
    for name, mutant in mutants.items():
        try:
            edited[name] = mutant.apply(proof.sources)
        except EditError as error:
            broken[name] = unjudged(mutant, Verdict.BROKEN, str(error))
            continue
        if mutant.sound:
            edited[_own(name)] = mutant.without_defect(proof.sources)
    built = proof.build(edited)
    for name, mutant in mutants.items():
        problems = [built[key].problem for key in (_own(name), name) if _fails(built.get(key))]
        if problems:
            broken[name] = unjudged(mutant, Verdict.BROKEN, problems[0])
    for judged in broken.values():
        say(report.line(judged))
    return broken, {name: one for name, one in built.items() if one.module}


def _own(name: str) -> str:
    """Return the name of the trial of the driver that a mutant is of, where it is one of its own.

    >>> _own("forgets-a-port")
    'forgets-a-port, without its defect'
    """
    return f"{name}, without its defect"


def _fails(built: Built | None) -> bool:
    return built is not None and built.module is None


def _plan(
    mutants: Mapping[str, Mutant], built: Mapping[str, Built], fatal: Collection[str]
) -> list[Trial]:
    """Return the trials: first the driver itself with all tests that any mutant needs."""
    # A random walk may stumble over any defect, which would prove nothing of the rule's own tests.
    tests = {
        rule: [test for test in some if WALKS not in test and test not in fatal]
        for rule, some in selection.tests_by_rule().items()
    }
    asked = {
        name: tuple(dict.fromkeys(test for rule in mutant.rules for test in tests.get(rule, ())))
        for name, mutant in mutants.items()
        if name in built
    }
    every = tuple(dict.fromkeys(test for some in asked.values() for test in some))
    trials = [_trial(built[BASELINE], every)]
    for name, some in asked.items():
        trials += [_trial(built[key], some) for key in (_own(name), name) if key in built]
    return trials


def _trial(built: Built, tests: tuple[str, ...]) -> Trial:
    assert built.module
    return Trial(built.name, built.module, tests)


def _conclude(every: Sequence[Judged], unfit: Mapping[str, str], results: Path, say: Say) -> bool:
    for text in report.matrix(every):
        say(text)
    say("")
    bad = [one for one in every if one.verdict is not Verdict.KILLED]
    shown = ", ".join(f"{count} {name}" for name, count in report.counts(every).items())
    say(f"{len(every)} mutants: {shown}; the matrix is in {results / report.MARKDOWN}")
    for one in bad:
        say(f"  {report.line(one)}")
    if unfit:
        say(f"{len(unfit)} tests fail with the driver itself, so no mutant was killed by them.")
    return not bad and not unfit
