# SPDX-License-Identifier: GPL-2.0-only
"""What the command ``mutants`` does."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from conformance import requirements
from conformance.lab import generic_run, mutants, mutants_run
from conformance.lab.generic_run import Sample
from conformance.lab.mutants_run import JOURNAL, Wanted


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
    if arguments.sample:
        chosen = mutants_run.sample(chosen, arguments.sample, arguments.seed)
        say(f"{len(chosen)} of {len(every)} mutants, seed {arguments.seed}")
    if arguments.list:
        for one in chosen.values():
            seen = f" Seen in {one.seen}." if one.seen else ""
            say(f"{one.id}  ({', '.join(one.rules)})  {one.defect}{seen}")
        return 0
    results = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    if not arguments.resume:
        (results / JOURNAL).unlink(missing_ok=True)
    wanted = Wanted(
        chosen,
        arguments.image,
        jobs=arguments.jobs,
        quiet=arguments.quiet,
        guests=arguments.guests,
        accelerator=arguments.accel,
    )
    try:
        if arguments.unplanned:
            asked = Sample(arguments.unplanned, arguments.seed, arguments.again)
            return 0 if generic_run.run(wanted, asked, results, say) else 1
        return 0 if mutants_run.run(wanted, results, say) else 1
    except KeyboardInterrupt:
        say(f"What was tried so far is in {results}; --resume goes on with it.")
        raise
