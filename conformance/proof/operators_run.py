# SPDX-License-Identifier: GPL-2.0-only
"""Lets the whole suite judge a sample of unplanned mutants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from conformance.errors import LabError
from conformance.lab.check.prepare import Prepared
from conformance.lab.guest.payload import Trial
from conformance.proof import guests
from conformance.proof import mutant as mutants
from conformance.proof import operators as generic
from conformance.proof.build import Builder
from conformance.proof.journal import Journal
from conformance.proof.judge import failing
from conformance.proof.operators import Generic, Known
from conformance.proof.run import BASELINE, JOURNAL, Say, Wanted, Watch, bench_for
from conformance.proof.trials import Bench, End, Outcome
from conformance.running import driver, paths, selection
from kpatch.device import load as devices

RESULT = "unplanned.json"
_SLOW = 150.0
"""Seconds of silence that are no hang on a kernel that looks for mistakes."""

_BATCH = 24
"""Mutants that are built at a time while the sample is not full."""

_WHOLE = (selection.SUITE,)
_UNTIL_KILLED = (selection.SUITE, "--exitfirst")


@dataclass(frozen=True)
class Sample:
    """Which unplanned mutants are tried.

    Attributes:
        number: How many: drivers that build, and are not the same code.
        seed: Chooses them.
        again: An image in which those that survive are tried once more; empty for none.
    """

    number: int
    seed: int
    again: str = ""


@dataclass(frozen=True)
class Fate:
    """What became of an unplanned mutant.

    Attributes:
        mutant: The mutant.
        by: What killed it, if anything did.
        image: The image in which it was killed.
        known: Why the suite cannot tell it from the driver, if that is known.
    """

    mutant: Generic
    by: str
    image: str
    known: Known | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        words = {key: value for key, value in asdict(self.mutant).items() if key != "text"}
        fate: dict[str, Any] = {"killed-by": self.by, "image": self.image}
        if self.known:
            fate["beyond" if self.known.beyond else "equivalent"] = self.known.reason
        return {**words, **fate}


def run(wanted: Wanted, asked: Sample, results: Path, say: Say) -> bool:
    """Judge the suite by a sample of unplanned mutants.

    Args:
        wanted: Image, jobs and so on; its mutants do not matter.
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
    watch = Watch()
    bench, prepared = bench_for(wanted, results, say)
    sources = _sources(prepared)
    modules, sample = _sample(wanted, prepared, sources, asked, say)
    known = _try(bench, modules, sample, wanted.guests, say=say)
    equivalent = generic.load_equivalent()
    fates = {
        name: Fate(one, by, wanted.image if by else "", None if by else equivalent.get(one.key))
        for name, one in sample.items()
        for by in (killed(known[name], known[BASELINE]),)
    }
    survivors = {name: one.mutant for name, one in fates.items() if not (one.by or one.known)}
    if asked.again and survivors:
        say(f"Trying {len(survivors)} survivors again in the image {asked.again} ...")
        slow = replace(wanted, image=asked.again, quiet=max(wanted.quiet, _SLOW))
        killers = _again(slow, survivors, results, say)
        for name, by in killers.items():
            fates[name] = replace(fates[name], by=by, image=asked.again if by else "")
    rows = [one.as_json() for one in fates.values()]
    (results / RESULT).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    for line in conclusion(list(fates.values()), wanted.image):
        say(line)
    say(watch.told(sum(one.seconds for one in known.values()), wanted.guests))
    return all(one.by or one.known for one in fates.values())


def _again(
    wanted: Wanted, survivors: Mapping[str, Generic], results: Path, say: Say
) -> dict[str, str]:
    """Return what kills each in another image."""
    folder = results / wanted.image
    folder.mkdir(exist_ok=True)
    bench, prepared = bench_for(wanted, folder, say)
    sources = _sources(prepared)
    edited = {name: {**sources, one.file: one.text} for name, one in survivors.items()}
    builder = Builder(prepared.lab.kernel, prepared.lab.image.sandbox, wanted.jobs)
    built = builder.build({BASELINE: sources, **edited}, lambda _one: None)
    modules = {name: one.module for name, one in built.items() if one.module}
    if len(modules) < len(built):
        raise LabError(f"Drivers that build for {wanted.image} are only {sorted(modules)}.")
    # What the usual image cannot see is what these are for.
    first = tuple(selection.of_rules(["robust"]))
    known = _try(bench, modules, survivors, wanted.guests, say=say, first=first)
    return {name: killed(known[name], known[BASELINE]) for name in survivors}


def _sources(prepared: Prepared) -> dict[str, str]:
    kernel = prepared.lab.kernel
    return driver.sources(devices.load(mutants.DEVICE), kernel.tree, kernel.key)


def _try(
    bench: Bench,
    modules: Mapping[str, Path],
    sample: Mapping[str, Generic],
    beside: int,
    *,
    say: Say,
    first: tuple[str, ...] = (),
) -> dict[str, Outcome]:
    """Return the outcome of the driver itself and of each mutant; some tests come first."""
    journal = Journal(bench.logs / JOURNAL)
    planned = [Trial(BASELINE, modules[BASELINE], _WHOLE)]
    planned += [Trial(name, modules[name], (*first, *_UNTIL_KILLED)) for name in sample]
    known: dict[str, Outcome] = {}
    waiting: list[Outcome] = []  # for what the driver itself does

    def show(outcome: Outcome) -> None:
        known[outcome.name] = outcome
        waiting.append(outcome)
        if BASELINE in known:
            for one in sorted(waiting, key=lambda one: one.name != BASELINE):
                place = f"[{len(known)}/{len(planned)}]"
                say(f"{place} {one.seconds:.0f} s: {_line(one, sample, known[BASELINE])}")
            waiting.clear()

    def new(outcome: Outcome) -> None:
        journal.add(outcome)
        show(outcome)

    left = []
    for one in planned:
        earlier = journal.known(one)
        if earlier:
            show(earlier)
        else:
            left.append(one)
    guests.run(bench, left, new, beside)
    return known


def _sample(
    wanted: Wanted, prepared: Prepared, sources: Mapping[str, str], asked: Sample, say: Say
) -> tuple[dict[str, Path], dict[str, Generic]]:
    """Return modules by name, that of the driver too, and the mutants of the sample."""
    every = generic.generate(sources, paths.cache() / "mutants" / "unplanned")
    order = generic.shuffled(every, asked.seed)
    builder = Builder(prepared.lab.kernel, prepared.lab.image.sandbox, wanted.jobs)
    original = builder.build({BASELINE: sources}, lambda _one: None)[BASELINE].module
    if original is None:
        raise LabError("The driver itself does not build.")
    modules, codes = {BASELINE: original}, [generic.code(original)]
    sample: dict[str, Generic] = {}
    broken = same = 0
    while order and len(sample) < asked.number:
        some, order = order[:_BATCH], order[_BATCH:]
        edited = {one.name: {**sources, one.file: one.text} for one in some}
        built = builder.build(edited, lambda _one: None)
        for one in some:
            module = built[one.name].module
            if module is None:
                broken += 1
            elif (code := generic.code(module)) in codes:
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


def _line(outcome: Outcome, sample: Mapping[str, Generic], baseline: Outcome) -> str:
    if outcome.name == BASELINE:
        return f"the driver itself: {len(failing(outcome))} tests fail"
    by = killed(outcome, baseline)
    return f"{sample[outcome.name]}: {f'killed by {by}' if by else 'SURVIVED'}"


def conclusion(fates: Sequence[Fate], image: str) -> list[str]:
    """Say how many were killed: of all, and of those that are not equivalent.

    Args:
        fates: What became of each.
        image: The image in which all were tried.
    """
    alike = sum(bool(one.known and not one.known.beyond) for one in fates)
    beyond = sum(bool(one.known and one.known.beyond) for one in fates)
    dead = sum(bool(one.by) for one in fates)
    others = len(fates) - alike
    within = _percent(dead, others - beyond)
    elsewhere = [one for one in fates if one.by and one.image != image]
    said = [
        f"{dead} of {len(fates)} unplanned mutants killed, {_percent(dead, len(fates))}; "
        f"{alike} are equivalent, {_percent(dead, others)} of the others are killed; "
        f"{beyond} of those are beyond the lab, without them it is {within}"
    ]
    if elsewhere:
        stock = dead - len(elsewhere)
        said.append(
            f"{len(elsewhere)} of them only in the image {elsewhere[0].image}; in {image} "
            f"{stock} are killed, {_percent(stock, others)} of those not equivalent"
        )
    said += [f"  only in the image {one.image}, by {one.by}: {one.mutant}" for one in elsewhere]
    said += [f"  survived: {one.mutant}" for one in fates if not one.by and not one.known]
    return said


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 100:.1f} %"
