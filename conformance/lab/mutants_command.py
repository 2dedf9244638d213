# SPDX-License-Identifier: GPL-2.0-only
"""The command ``mutants``: its options, and what it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from conformance import requirements
from conformance.lab import generic_run, mutants, mutants_run
from conformance.lab.mutants_run import JOURNAL, Wanted

_QUIET = 40.0
"""Seconds; a mutant that hangs is no accident, so nobody waits for long."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.set_defaults(command="mutants")
    parser.add_argument("ids", nargs="*", metavar="ID", help="mutants; all without one")
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="ID",
        help="mutants which break this rule, or one below it; may be repeated",
    )
    parser.add_argument("--sample", type=int, metavar="N", help="only so many of them, at random")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="chooses the sample (default: 0)"
    )
    parser.add_argument(
        "--unplanned",
        type=int,
        metavar="N",
        help="instead of these, N mutants made by universalmutator; takes an hour for 100",
    )
    parser.add_argument("--list", action="store_true", help="list mutants, and do nothing")
    parser.add_argument("--image", default="trixie", metavar="NAME", help="lab image")
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="drivers built at a time (default: 2)"
    )
    parser.add_argument(
        *("--results", "-o"),
        type=Path,
        default=Path("results/mutants"),
        metavar="DIR",
        help="folder of the results (default: ./results/mutants)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with what is in that folder; what was tried with the same tests stays",
    )
    parser.add_argument(
        "--quiet",
        type=float,
        default=_QUIET,
        metavar="SECONDS",
        help="without a word for so long, the guest counts as hung (default: %(default)g)",
    )
    parser.add_argument("--accel", choices=("kvm", "tcg"), default="", help="how QEMU runs it")


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
    wanted = Wanted(chosen, arguments.image, arguments.jobs, arguments.quiet, arguments.accel)
    if arguments.unplanned:
        good = generic_run.run(wanted, arguments.unplanned, arguments.seed, results, say)
        return 0 if good else 1
    return 0 if mutants_run.run(wanted, results, say) else 1
