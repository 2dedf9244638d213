# SPDX-License-Identifier: GPL-2.0-only
"""Lets the whole suite judge a sample of unplanned mutants."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from conformance.errors import LabError
from conformance.lab import generic, mutants, paths, selection, trials
from conformance.lab.generic import Generic
from conformance.lab.mutants_build import Builder
from conformance.lab.mutants_judge import failing
from conformance.lab.mutants_run import BASELINE, JOURNAL, Say, Wanted, bench_for
from conformance.lab.prepare import Prepared
from conformance.lab.trials import Journal, Outcome, Trial
from kpatch import device as devices
from kpatch import render

RESULT = "unplanned.json"
_BATCH = 24
"""Mutants that are built at a time while the sample is not full."""

_WHOLE = (selection.SUITE,)
_UNTIL_KILLED = (selection.SUITE, "--exitfirst")


def run(wanted: Wanted, number: int, seed: int, results: Path, say: Say) -> bool:
    """Judge the suite by a sample of unplanned mutants.

    Args:
        wanted: Image, jobs and so on; its mutants do not matter.
        number: How many: drivers which build, and are not the same code.
        seed: Chooses them.
        results: Folder of the run.
        say: Takes lines for the user.

    Returns:
        Whether all were killed but for those known to be equivalent.

    Raises:
        ConformanceError: The lab failed.
        KpatchError: The driver does not build, or the tool is missing.
    """
    results = results.absolute()
    bench, prepared = bench_for(wanted, results, say)
    modules, sample = _sample(wanted, prepared, number, seed, say)
    journal = Journal(results / JOURNAL)
    known: dict[str, Outcome] = {}

    def done(outcome: Outcome) -> None:
        known[outcome.name] = outcome
        say(f"[{len(known)}/{len(sample) + 1}] {_line(outcome, sample, known[BASELINE])}")

    planned = [Trial(BASELINE, modules[BASELINE], _WHOLE)]
    planned += [Trial(name, modules[name], _UNTIL_KILLED) for name in sample]
    left = []
    for one in planned:
        earlier = journal.known(one)
        if earlier and (one.name == BASELINE or BASELINE in known):
            done(earlier)
        else:
            left.append(one)

    def new(outcome: Outcome) -> None:
        journal.add(outcome)
        done(outcome)

    trials.run(bench, left, new)
    return _conclude(sample, known, results, say)


def _sample(
    wanted: Wanted, prepared: Prepared, number: int, seed: int, say: Say
) -> tuple[dict[str, Path], dict[str, Generic]]:
    """Return modules by name, that of the driver too, and the mutants of the sample."""
    kernel = prepared.lab.kernel
    features = kernel.tree.features(paths.cache() / "probes" / kernel.key)
    sources = render.texts(devices.load(mutants.DEVICE), features)
    every = generic.generate(sources, paths.cache() / "mutants" / "unplanned")
    order = generic.shuffled(every, seed)
    builder = Builder(kernel, prepared.lab.image.sandbox, wanted.jobs)
    original = builder.build({BASELINE: sources}, lambda _one: None)[BASELINE].module
    if original is None:
        raise LabError("The driver itself does not build.")
    modules, codes = {BASELINE: original}, [generic.code(original)]
    sample: dict[str, Generic] = {}
    broken = same = 0
    while order and len(sample) < number:
        some, order = order[:_BATCH], order[_BATCH:]
        edited = {one.name: {**sources, one.file: one.text} for one in some}
        built = builder.build(edited, lambda _one: None)
        for one in some:
            module = built[one.name].module
            if module is None:
                broken += 1
            elif (code := generic.code(module)) in codes:
                same += 1
            elif len(sample) < number:
                codes.append(code)
                modules[one.name], sample[one.name] = module, one
        say(f"{len(sample)} of {number}: {broken} did not build, {same} are the same code")
    return modules, sample


def killed(outcome: Outcome, baseline: Outcome) -> str:
    """Return what killed a mutant: a test, a dead kernel, an agent that gave up; or nothing."""
    unfit = failing(baseline)
    for name, one in outcome.tests.items():
        if one.bad and name not in unfit:
            return name
    return "" if outcome.end == trials.DONE else f"{outcome.end}: {outcome.detail.splitlines()[0]}"


def _line(outcome: Outcome, sample: Mapping[str, Generic], baseline: Outcome) -> str:
    if outcome.name == BASELINE:
        return f"the driver itself: {len(failing(outcome))} tests fail"
    by = killed(outcome, baseline)
    return f"{sample[outcome.name]}: {f'killed by {by}' if by else 'SURVIVED'}"


def _conclude(
    sample: Mapping[str, Generic],
    known: Mapping[str, Outcome],
    results: Path,
    say: Callable[[str], None],
) -> bool:
    equivalent = generic.load_equivalent()
    rows, open_ones, alike = [], [], 0
    for name, one in sample.items():
        by = killed(known[name], known[BASELINE])
        reason = "" if by else equivalent.get((one.file, one.before, one.after), "")
        alike += bool(reason)
        if not by and not reason:
            open_ones.append(one)
        words = {key: value for key, value in asdict(one).items() if key != "text"}
        rows.append({**words, "killed-by": by, "equivalent": reason})
    (results / RESULT).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    counted = len(sample) - alike
    dead = counted - len(open_ones)
    rate = 100 * dead / counted if counted else 100.0
    say(f"{dead} of {counted} unplanned mutants killed, {rate:.0f} %; {alike} are equivalent")
    for one in open_ones:
        say(f"  survived: {one}")
    return not open_ones
