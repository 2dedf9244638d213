# SPDX-License-Identifier: GPL-2.0-only
"""What the command ``mutants`` does."""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Callable
from dataclasses import replace

from conformance import requirements
from conformance.proof import planned
from conformance.proof.judging import pipeline
from conformance.proof.judging.pipeline import JOURNAL, Wanted
from conformance.proof.mutants import mutant as mutants
from conformance.proof.operators import run as operators_run
from conformance.proof.operators.run import Sample
from conformance.proof.output.page import Sheet
from conformance.running import paths
from kpatch.device.protocols import Protocol
from kpatch.kernel import kbuild


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Do what the command says.

    Returns:
        0 if the suite killed each mutant for its reason, 1 if not.

    Raises:
        UsageError: What is asked for does not exist.
        ConformanceError: The lab failed.
        KpatchError: The driver does not build.
    """
    every = mutants.load(requirements.load())
    chosen = mutants.select(every, arguments.ids, arguments.rule)
    if arguments.sample or not arguments.list:
        chosen = mutants.for_image(chosen, arguments.image, named=bool(arguments.ids))
    seed = random.randrange(1 << 31) if arguments.seed is None else arguments.seed  # noqa: S311
    if arguments.sample:
        # What is quick: a stranger takes the source of a kernel.
        chosen = {name: one for name, one in chosen.items() if not one.stranger} or chosen
        chosen = pipeline.sample(chosen, arguments.sample, seed)
        say(f"{len(chosen)} of {len(every)} mutants, --seed {seed}")
    if arguments.list:
        for one in chosen.values():
            seen = f" Seen in {one.seen}." if one.seen else ""
            say(f"{one.id}  ({', '.join(one.rules)})  {one.defect}{seen}")
        return 0
    results = paths.results(arguments.results)
    if not arguments.resume:
        for journal in results.rglob(JOURNAL):
            journal.unlink()
    wanted = Wanted(
        arguments.image,
        jobs=arguments.jobs,
        quiet=arguments.quiet,
        guests=arguments.guests,
        accelerator=arguments.accel,
    )
    # What a compiler has to say of mutants is no news.
    logging.getLogger(kbuild.__name__).setLevel(logging.ERROR)
    try:
        if arguments.operators:
            version: Protocol = arguments.protocol or "v1"
            of = f"the driver of {arguments.device} for {version}"
            say(f"{arguments.operators} operator mutants of {of}, --seed {seed}")
            asked = Sample(arguments.operators, seed, arguments.again)
            own = replace(wanted, device=arguments.device, protocols=(version,))
            return 0 if operators_run.run(own, asked, results, say) else 1
        good = True
        sheet = Sheet(results, len(chosen))
        for name, some in mutants.by_device(chosen).items():
            folder = results if name == mutants.DEVICE else results / name
            folder.mkdir(exist_ok=True)
            one = next(iter(some.values()))
            say(f"{len(some)} mutants of {name if one.stranger else f'the driver of {name}'}")
            own = replace(
                wanted,
                device=one.device,
                stranger=one.stranger,
                protocols=one.protocols,
            )
            good &= planned.run(some, own, folder, say, sheet)
        if sheet.parts:
            say(f"report: {sheet.path.as_uri()}")
        return 0 if good else 1
    except KeyboardInterrupt:
        say(f"Results so far are in {results}; --resume continues this run.")
        raise
