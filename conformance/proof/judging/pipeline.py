# SPDX-License-Identifier: GPL-2.0-only
"""What planned mutants and those of operators go through: sources, builds, trials, outcomes.

The driver without a defect is tried like the rest, and first: what fails with it proves nothing.
"""

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
from conformance.proof.judging import guests
from conformance.proof.judging.build import Builder, Built
from conformance.proof.judging.journal import Journal
from conformance.proof.judging.judge import failing
from conformance.proof.judging.trials import Bench, End, Outcome
from conformance.proof.mutants.mutant import DEVICE
from conformance.running import driver
from conformance.running.steps import Steps
from kpatch.device import load as devices
from kpatch.device.protocols import Protocol

BASELINE = "driver-itself"
"""Name of the trial of the driver without a defect."""

JOURNAL = "trials.jsonl"

Say = Callable[[str], None]
"""Prints a line for the user."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Wanted:
    """Of which driver mutants are judged, where, and with what.

    Attributes:
        image: Name of the image.
        jobs: How many are built in parallel.
        quiet: Seconds without an event after which a guest counts as hung.
        guests: How many guests run in parallel.
        accelerator: ``kvm`` or ``tcg``; without it the lab finds out.
        device: The device whose driver they are of.
        stranger: The driver of the kernel that they are of instead.
        protocols: The versions of the protocol that a device's driver speaks; the last is judged.
    """

    image: str
    jobs: int
    quiet: float
    guests: int = 1
    accelerator: str = ""
    device: str = DEVICE
    stranger: str = ""
    protocols: tuple[Protocol, ...] = ("v1",)

    @property
    def driver(self) -> str:
        """What the driver is called."""
        return self.stranger or f"{self.device} {'+'.join(self.protocols)}"

    @property
    def fatal(self) -> tuple[str, ...]:
        """Requests of which the driver itself kills the kernel."""
        return strangers.load(self.stranger).fatal if self.stranger else ()

    @property
    def options(self) -> Options:
        """What the lab is asked for."""
        return Options(
            device=self.device,
            stranger=self.stranger,
            image=self.image,
            quiet=self.quiet,
            protocol=None if self.stranger else self.protocols[-1],
            both=len(self.protocols) > 1,
            accelerator=self.accelerator,
        )


def sample(every: Mapping[str, _T], number: int, seed: int) -> dict[str, _T]:
    """Return some of what has names, the same for the same seed, in their order."""
    chosen = random.Random(seed)  # noqa: S311 - repeatable on purpose
    names = set(chosen.sample(sorted(every), min(number, len(every))))
    return {name: one for name, one in every.items() if name in names}


class Proof:
    """A lab in which copies of one driver are judged.

    Args:
        wanted: Which driver, and where.
        results: Folder of the run; outcomes that are there already are not tried again.
        say: Prints lines for the user.

    Attributes:
        sources: Name and text of each source of the driver.
        outcomes: What is known, by the name of the trial.

    Raises:
        ConformanceError: The lab failed.
        KpatchError: The driver cannot be rendered or does not build.
    """

    def __init__(self, wanted: Wanted, results: Path, say: Say) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._begun = time.monotonic()
        self._wanted = wanted
        self._say = say
        self._journal = Journal(results / JOURNAL)
        request = look_up(wanted.options)
        prepared = prepare(request, results, Steps(say))
        if prepared is None or prepared.module is None:
            raise LabError("Nothing was prepared.")
        self._bench = Bench(
            prepared.lab,
            prepared.module,
            results,
            request.options.quiet,
            request.hints,
            prepared.companions,
            request.mediated,
        )
        self.sources = _sources(wanted, prepared)
        lab = prepared.lab
        self._builder = Builder(lab.kernel, lab.image.sandbox, wanted.jobs)

    @property
    def driver(self) -> str:
        """What the driver is called."""
        return self._wanted.driver

    @property
    def unfit(self) -> dict[str, str]:
        """Tests that the driver itself fails, and why."""
        baseline = self.outcomes.get(BASELINE)
        return failing(baseline) if baseline else {}

    def build(
        self, edited: Mapping[str, Mapping[str, str]], *, silent: bool = False
    ) -> dict[str, Built]:
        """Build copies of the driver.

        Args:
            edited: For each name the sources of the copy.
            silent: Whether nothing is said of how far it is.

        Raises:
            LabError: One is the driver itself, and it does not build.
            KpatchError: Nothing can be built here.
        """
        show = (lambda _built: None) if silent else _Builds(len(edited), self._say).done
        built = self._builder.build(edited, show)
        if BASELINE in built and built[BASELINE].module is None:
            raise LabError(f"The driver itself does not build: {built[BASELINE].problem}")
        return built

    def try_all(
        self, planned: Sequence[Trial], describe: Callable[[Outcome, Outcome], str]
    ) -> None:
        """Try copies of the driver, and say what became of each once the driver itself is known.

        Args:
            planned: The trials; one is that of the driver itself.
            describe: Returns the line about an outcome, given that of the driver itself.

        Raises:
            ConformanceError: The lab failed.
        """
        progress = _Progress(len(planned), describe, self._say)

        def take(outcome: Outcome) -> None:
            self.outcomes[outcome.name] = outcome
            progress.take(outcome)

        def new(outcome: Outcome) -> None:
            self._journal.add(outcome)
            take(outcome)

        left = []
        for trial in planned:
            if known := self._journal.known(trial):
                take(known)
            else:
                left.append(trial)
        guests.run(self._bench, left, new, self._wanted.guests)

    def time(self) -> str:
        """Say what the run took, with all trials that are known, those from before too."""
        seconds = time.monotonic() - self._begun
        trials = sum(outcome.seconds for outcome in self.outcomes.values())
        return (
            f"time: {seconds:.0f} s; all trials together {trials:.0f} s, "
            f"{self._wanted.guests} in parallel"
        )


class _Progress:
    """Shows outcomes, those that came before the driver itself's as soon as that is there."""

    def __init__(self, number: int, describe: Callable[[Outcome, Outcome], str], say: Say) -> None:
        self._number = number
        self._describe = describe
        self._say = say
        self._count = 0
        self._baseline: Outcome | None = None
        self._early: list[Outcome] = []

    def take(self, outcome: Outcome) -> None:
        """Take an outcome. Raises :class:`LabError` if the driver itself was not tried out."""
        if outcome.name == BASELINE:
            self._take_baseline(outcome)
        elif self._baseline is None:
            self._early.append(outcome)
        else:
            self._show(self._describe(outcome, self._baseline))

    def _take_baseline(self, outcome: Outcome) -> None:
        if outcome.end is not End.DONE:
            raise LabError(
                f"The suite did not complete on the driver without a defect: {outcome.detail}"
            )
        self._baseline = outcome
        self._show(f"the driver itself: {len(failing(outcome))} tests fail")
        for name, why in failing(outcome).items():
            self._say(f"  {name}: {why.splitlines()[0] if why else ''}")
        for early in self._early:
            self.take(early)

    def _show(self, text: str) -> None:
        self._count += 1
        self._say(f"[{self._count}/{self._number}] {text}")


class _Builds:
    """Shows how far a build of many drivers is."""

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


def _sources(wanted: Wanted, prepared: Prepared) -> dict[str, str]:
    """Return name and text of each source of the driver that is edited."""
    kernel = prepared.lab.kernel
    if wanted.stranger:
        quiet = Steps(lambda _line: None)
        source = strangers_build.fetch(prepared.lab.image, kernel.release, quiet)
        return strangers_build.texts(strangers.load(wanted.stranger), source)
    device = devices.load(wanted.device)
    return driver.sources(device, kernel.tree, kernel.key, wanted.protocols)
