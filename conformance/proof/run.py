# SPDX-License-Identifier: GPL-2.0-only
"""Builds faulty drivers, lets the suite judge each, and tells which it did not notice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from conformance.errors import LabError
from conformance.lab.check.prepare import Options, Prepared, look_up, prepare
from conformance.lab.guest.payload import Trial
from conformance.lab.strangers import build as strangers_build
from conformance.lab.strangers import definition as strangers
from conformance.proof import guests
from conformance.proof import junit as mutants_junit
from conformance.proof import report as mutants_report
from conformance.proof.build import Builder, Built
from conformance.proof.journal import Journal
from conformance.proof.judge import Judged, Verdict, failing, judge, unjudged
from conformance.proof.mutant import DEVICE, EditError, Mutant
from conformance.proof.trials import Bench, End, Outcome
from conformance.running import driver, selection
from conformance.running.steps import Steps
from kpatch.device import load as devices
from kpatch.render.context import Protocol

BASELINE = "driver-itself"
"""Name of the trial of the driver without a defect."""

JOURNAL = "trials.jsonl"

_WALK = "/test_walk.py::"

Say = Callable[[str], None]
One = TypeVar("One")


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        mutants: The mutants.
        image: Name of the image.
        jobs: How many are built at a time.
        quiet: Seconds without an event after which a guest counts as hung.
        guests: How many guests run beside each other.
        accelerator: ``kvm`` or ``tcg``; without it the lab finds out.
        device: The device whose driver they are of.
        stranger: The driver of the kernel which they are of instead.
        protocol: The version of the protocol for which a device's driver is rendered.
    """

    mutants: Mapping[str, Mutant]
    image: str
    jobs: int
    quiet: float
    guests: int = 1
    accelerator: str = ""
    device: str = DEVICE
    stranger: str = ""
    protocol: Protocol = "v1"


def sample(every: Mapping[str, One], number: int, seed: int) -> dict[str, One]:
    """Return some of what has names, the same for the same seed, in their order."""
    chosen = random.Random(seed)  # noqa: S311 - repeatable on purpose
    names = set(chosen.sample(sorted(every), min(number, len(every))))
    return {name: one for name, one in every.items() if name in names}


def run(wanted: Wanted, results: Path, say: Say) -> bool:
    """Judge the suite by mutants.

    Args:
        wanted: Which.
        results: Folder of the run; outcomes which are there already are not tried again.
        say: Takes lines for the user.

    Returns:
        Whether each mutant was killed for its reason, and the driver itself passes.

    Raises:
        ConformanceError: The lab failed.
        KpatchError: The driver does not build.
    """
    results = results.absolute()
    watch = Watch()
    bench, prepared = bench_for(wanted, results, say)
    judged, built = _build(wanted, prepared, say)
    planned = _plan(wanted, built)
    journal = Journal(results / JOURNAL)
    progress = _Progress(wanted.mutants, journal, judged, len(planned), say)
    left = [one for one in planned if not progress.take(journal.known(one))]
    try:
        guests.run(bench, left, progress.done, wanted.guests)
    finally:
        every = [
            judged.get(name) or unjudged(mutant, Verdict.NOT_RUN)
            for name, mutant in wanted.mutants.items()
        ]
        unfit = failing(progress.baseline) if progress.baseline else {}
        mutants_report.write(results, every, unfit)
        mutants_junit.write(results, every, unfit)
    good = _conclude(every, unfit, results, say)
    say(watch.told(progress.seconds, wanted.guests))
    return good


class Builds:
    """Shows how far a build of many drivers is.

    Args:
        number: How many there are.
        say: Takes lines for the user.
    """

    def __init__(self, number: int, say: Say) -> None:
        self._number = number
        self._say = say
        self._count = 0
        say(f"Building {number} drivers ...")

    def done(self, _built: Built) -> None:
        """Take one that is built, or is not to be."""
        self._count += 1
        if self._count % 20 == 0 or self._count == self._number:
            self._say(f"  {self._count} of {self._number} drivers are built")


class Watch:
    """Takes the time of a run."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def told(self, trials: float, beside: int) -> str:
        """Say what the run took.

        Args:
            trials: Seconds of all trials together, those from before the run too.
            beside: How many guests there were at a time.
        """
        seconds = time.monotonic() - self._begun
        return (
            f"time: {seconds:.0f} s; all trials together {trials:.0f} s, {beside} beside each other"
        )


def bench_for(wanted: Wanted, results: Path, say: Say) -> tuple[Bench, Prepared]:
    """Return where mutants are judged, and the lab that was prepared for it."""
    options = Options(
        device=wanted.device,
        stranger=wanted.stranger,
        protocol=None if wanted.stranger else wanted.protocol,
        image=wanted.image,
        quiet=wanted.quiet,
        accelerator=wanted.accelerator,
    )
    request = look_up(options)
    prepared = prepare(request, results, Steps(say))
    if prepared is None or prepared.module is None:
        raise LabError("Nothing was prepared.")
    bench = Bench(
        prepared.lab,
        prepared.module,
        results,
        wanted.quiet,
        request.hints,
        prepared.beside,
        request.mediated,
    )
    return bench, prepared


def _build(
    wanted: Wanted, prepared: Prepared, say: Say
) -> tuple[dict[str, Judged], dict[str, Built]]:
    """Return the verdict on mutants that cannot be built, and the modules of all others."""
    kernel = prepared.lab.kernel
    sources = _sources(wanted, prepared)
    broken: dict[str, Judged] = {}
    edited: dict[str, dict[str, str]] = {BASELINE: sources}
    for name, mutant in wanted.mutants.items():
        try:
            edited[name] = mutant.apply(sources)
        except EditError as error:
            broken[name] = unjudged(mutant, Verdict.BROKEN, str(error))
    builder = Builder(kernel, prepared.lab.image.sandbox, wanted.jobs)
    built = builder.build(edited, Builds(len(edited), say).done)
    if built[BASELINE].module is None:
        raise LabError(f"The driver itself does not build: {built[BASELINE].problem}")
    for name, one in built.items():
        if one.module is None:
            broken[name] = unjudged(wanted.mutants[name], Verdict.BROKEN, one.problem)
    for judged in broken.values():
        say(mutants_report.line(judged))
    return broken, {name: one for name, one in built.items() if one.module}


def _sources(wanted: Wanted, prepared: Prepared) -> dict[str, str]:
    """Return name and text of each source of the driver that is edited."""
    kernel = prepared.lab.kernel
    if wanted.stranger:
        quiet = Steps(lambda _line: None)
        source = strangers_build.fetch(prepared.lab.image, kernel.release, quiet)
        return strangers_build.texts(strangers.load(wanted.stranger), source)
    device = devices.load(wanted.device)
    return driver.sources(device, kernel.tree, kernel.key, wanted.protocol)


def _plan(wanted: Wanted, built: Mapping[str, Built]) -> list[Trial]:
    """Return the trials: first the driver itself with all tests that any mutant needs."""
    # A random walk may stumble over any defect, which would prove nothing of the rule's own tests.
    tests = {
        rule: [test for test in some if _WALK not in test]
        for rule, some in selection.tests_by_rule().items()
    }
    asked = {
        name: tuple(dict.fromkeys(test for rule in mutant.rules for test in tests.get(rule, ())))
        for name, mutant in wanted.mutants.items()
        if name in built
    }
    every = tuple(dict.fromkeys(test for some in asked.values() for test in some))
    return [_trial(built[name], asked.get(name, every)) for name in (BASELINE, *asked)]


def _trial(built: Built, tests: tuple[str, ...]) -> Trial:
    assert built.module
    return Trial(built.name, built.module, tests)


class _Progress:
    """Judges as outcomes come, and shows it."""

    def __init__(
        self,
        wanted: Mapping[str, Mutant],
        journal: Journal,
        judged: dict[str, Judged],
        number: int,
        say: Say,
    ) -> None:
        self.baseline: Outcome | None = None
        self._early: list[Outcome] = []  # known before the driver itself is
        self._wanted = wanted
        self._journal = journal
        self._judged = judged
        self._number = number
        self._count = 0
        self._say = say
        self.seconds = 0.0

    def take(self, outcome: Outcome | None) -> bool:
        """Take an outcome that is known from before, if it is."""
        if outcome is None:
            return False
        self._judge(outcome)
        return True

    def done(self, outcome: Outcome) -> None:
        """Take an outcome that has just come."""
        self._journal.add(outcome)
        self._judge(outcome)

    def _judge(self, outcome: Outcome) -> None:
        if outcome.name != BASELINE and self.baseline is None:
            self._early.append(outcome)
            return
        self._count += 1
        self.seconds += outcome.seconds
        where = f"[{self._count}/{self._number}]"
        if outcome.name == BASELINE:
            self.baseline = outcome
            if outcome.end is not End.DONE:
                raise LabError(f"The suite did not get through without a defect: {outcome.detail}")
            self._say(f"{where} the driver itself: {len(failing(outcome))} tests fail")
            for name, why in failing(outcome).items():
                self._say(f"  {name}: {why.splitlines()[0] if why else ''}")
            for early in self._early:
                self._judge(early)
            return
        assert self.baseline
        verdict = judge(self._wanted[outcome.name], outcome, self.baseline)
        self._judged[outcome.name] = verdict
        self._say(f"{where} {mutants_report.line(verdict)}")


def _conclude(every: Sequence[Judged], unfit: Mapping[str, str], results: Path, say: Say) -> bool:
    for text in mutants_report.matrix(every):
        say(text)
    say("")
    bad = [one for one in every if one.verdict is not Verdict.KILLED]
    shown = ", ".join(f"{count} {name}" for name, count in mutants_report.counts(every).items())
    say(f"{len(every)} mutants: {shown}; the matrix is in {results / mutants_report.MARKDOWN}")
    for one in bad:
        say(f"  {mutants_report.line(one)}")
    if unfit:
        say(f"{len(unfit)} tests fail with the driver itself, so no mutant was killed by them.")
    return not bad and not unfit
