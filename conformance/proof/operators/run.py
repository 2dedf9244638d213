# SPDX-License-Identifier: GPL-2.0-only
"""Lets the whole suite judge a sample of operator mutants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.errors import LabError
from conformance.lab.guest.payload import Trial
from conformance.proof.judging.judge import failing
from conformance.proof.judging.pipeline import BASELINE, Proof, Say, Wanted
from conformance.proof.judging.trials import End, Outcome
from conformance.proof.operators import operators
from conformance.proof.operators import page as operators_page
from conformance.proof.operators.fate import Fate, conclusion
from conformance.proof.operators.operators import OperatorMutant
from conformance.running import paths, selection

RESULT = "operators.json"
_BATCH = 24
"""Mutants that are built at a time while the sample is not full."""

_WHOLE = (selection.SUITE,)
_UNTIL_KILLED = (selection.SUITE, "--exitfirst")


@dataclass(frozen=True)
class Sample:
    """Which operator mutants are tried.

    Attributes:
        number: How many: drivers that build, and are not the same code.
        seed: Chooses them.
        again: An image in which those that survive are tried once more; empty for none.
    """

    number: int
    seed: int
    again: str = ""


def run(wanted: Wanted, asked: Sample, results: Path, say: Say) -> bool:
    """Judge the suite by a sample of operator mutants.

    Args:
        wanted: The driver, and where.
        asked: Which.
        results: Folder of the run.
        say: Takes lines for the user.

    Returns:
        Whether all were killed but for those known to be equivalent.

    Raises:
        ConformanceError: The lab failed.
        KpatchError: The driver does not build, or the tool is missing.
    """
    results = results.absolute()
    proof = Proof(wanted, results, say)
    modules, sample = _sample(proof, asked, say)
    _try(proof, modules, sample)
    by = {name: killed(proof.outcomes[name], proof.outcomes[BASELINE]) for name in sample}
    equivalent = operators.load_equivalent()
    fates = {
        name: Fate(one, by[name], wanted.image) if by[name] else Fate(one, "", "", known)
        for name, one in sample.items()
        for known in (equivalent.get(one.key),)
    }
    survivors = {name: one.mutant for name, one in fates.items() if not (one.by or one.known)}
    if asked.again and survivors:
        say(f"Retrying {len(survivors)} survivors in the image {asked.again} ...")
        slow = replace(wanted, image=asked.again)
        killers = _again(slow, survivors, proof.sources, results, say)
        for name, killer in killers.items():
            fates[name] = replace(fates[name], by=killer, image=asked.again if killer else "")
    rows = [fate.as_json() for fate in fates.values()]
    (results / RESULT).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    lines = conclusion(list(fates.values()), wanted.image)
    for line in lines:
        say(line)
    say(proof.time())
    page = operators_page.write(results, wanted.driver, list(fates.values()), lines)
    say(f"report: {page.as_uri()}")
    return all(fate.by or fate.known for fate in fates.values())


def _again(
    wanted: Wanted,
    survivors: Mapping[str, OperatorMutant],
    originals: Mapping[str, str],
    results: Path,
    say: Say,
) -> dict[str, str]:
    """Return what kills each in another image; nothing kills one that its driver does not have."""
    folder = results / wanted.image
    folder.mkdir(exist_ok=True)
    proof = Proof(wanted, folder, say)
    edited = {BASELINE: proof.sources}
    for name, one in survivors.items():
        # The driver for that kernel is another one: the change, not the file, is taken over.
        there = proof.sources.get(one.file, "")
        text = operators.transplanted(one, originals[one.file], there)
        if text is None:
            say(f"{one}: the driver for {wanted.image} does not have that")
        else:
            edited[name] = {**proof.sources, one.file: text}
    built = proof.build(edited, silent=True)
    modules = {name: one.module for name, one in built.items() if one.module}
    if len(modules) < len(built):
        raise LabError(f"Drivers that build for {wanted.image} are only {sorted(modules)}.")
    # What the usual image cannot see is what these are for.
    first = tuple(selection.of_rules(["robust"]))
    tried = {name: one for name, one in survivors.items() if name in modules}
    _try(proof, modules, tried, first)
    unfit = proof.outcomes[BASELINE]
    return {
        name: killed(proof.outcomes[name], unfit) if name in tried else "" for name in survivors
    }


def _try(
    proof: Proof,
    modules: Mapping[str, Path],
    sample: Mapping[str, OperatorMutant],
    first: tuple[str, ...] = (),
) -> None:
    """Try the driver itself and each mutant; some tests come first."""

    def describe(outcome: Outcome, baseline: Outcome) -> str:
        by = killed(outcome, baseline)
        became = f"killed by {by}" if by else "SURVIVED"
        return f"{outcome.seconds:.0f} s: {sample[outcome.name]}: {became}"

    planned = [Trial(BASELINE, modules[BASELINE], _WHOLE)]
    planned += [Trial(name, modules[name], (*first, *_UNTIL_KILLED)) for name in sample]
    proof.try_all(planned, describe)


def _sample(
    proof: Proof, asked: Sample, say: Say
) -> tuple[dict[str, Path], dict[str, OperatorMutant]]:
    """Return modules by name, that of the driver too, and the mutants of the sample."""
    # A folder for each driver, as two of them may be judged at the same time.
    folder = paths.cache() / "mutants" / "operators" / proof.driver.replace(" ", "-")
    every = operators.generate(proof.sources, folder)
    order = operators.shuffled(every, asked.seed)
    original = proof.build({BASELINE: proof.sources}, silent=True)[BASELINE].module
    assert original
    modules, codes = {BASELINE: original}, [operators.code(original)]
    sample: dict[str, OperatorMutant] = {}
    broken = same = 0
    while order and len(sample) < asked.number:
        some, order = order[:_BATCH], order[_BATCH:]
        edited = {one.name: {**proof.sources, one.file: one.text} for one in some}
        built = proof.build(edited, silent=True)
        for one in some:
            module = built[one.name].module
            if module is None:
                broken += 1
            elif (code := operators.code(module)) in codes:
                same += 1
            elif len(sample) < asked.number:
                codes.append(code)
                modules[one.name], sample[one.name] = module, one
        say(f"{len(sample)} of {asked.number}: {broken} did not build, {same} are the same code")
    return modules, sample


def killed(outcome: Outcome, baseline: Outcome) -> str:
    """Return what killed a mutant: a test, a dead kernel, an agent that gave up; or nothing."""
    unfit = failing(baseline)
    for name, one in outcome.tests.items():
        if one.bad and name not in unfit:
            return name
    return "" if outcome.end is End.DONE else f"{outcome.end}: {outcome.detail.splitlines()[0]}"
