# SPDX-License-Identifier: GPL-2.0-only
"""The command ``mutants``: judge the suite by faulty drivers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from conformance.cli import options
from conformance.cli.options import DEVICE, Say
from conformance.errors import UsageError

HELP = "judge the suite by faulty drivers that it must fail"

_QUIET = 40.0
"""Seconds without an event before a guest counts as hung; mutants hang often."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="mutants; all without one")
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="ID",
        help="mutants that break this rule, or one below it; may be repeated",
    )
    options.sample(parser)
    parser.add_argument(
        "--operators",
        "--unplanned",
        type=options.positive,
        metavar="N",
        help="judge N operator mutants made by universalmutator instead; 100 take an hour",
    )
    parser.add_argument(
        "--again",
        default="",
        metavar="IMAGE",
        help="retry surviving operator mutants in this image, such as debug",
    )
    parser.add_argument(
        "--device",
        default=DEVICE,
        metavar="NAME",
        help="device of whose driver operator mutants are made (default: %(default)s)",
    )
    options.protocol(parser, "spoken by the driver that operator mutants are made of", "v1")
    parser.add_argument("--list", action="store_true", help="only list the mutants")
    parser.add_argument("--image", default="trixie", metavar="NAME", help="lab image")
    parser.add_argument(
        "--jobs",
        type=options.positive,
        default=2,
        metavar="N",
        help="drivers built in parallel (default: 2)",
    )
    parser.add_argument(
        "--guests",
        type=options.positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="guests in parallel (default: one per CPU, %(default)s)",
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
        help="resume the run in that folder; results from the same tests are kept",
    )
    parser.add_argument(
        "--quiet",
        type=options.seconds,
        default=_QUIET,
        metavar="SECONDS",
        help="seconds without an event after which the guest counts as hung (default: %(default)g)",
    )
    parser.add_argument("--accel", choices=("kvm", "tcg"), default="", help="how QEMU runs it")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code.

    Raises:
        UsageError: Options do not go together; or as the command itself.
    """
    if not arguments.operators and (arguments.device != DEVICE or arguments.protocol):
        raise UsageError("--device and --protocol go with --operators: each mutant names its own.")
    from conformance.proof import command

    return command.run(arguments, say)
