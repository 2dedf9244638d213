# SPDX-License-Identifier: GPL-2.0-only
"""The command ``variants``: judge the suite by good drivers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance.cli import options
from conformance.cli.options import Say

HELP = "judge the suite by good drivers that it must pass"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="variants; all without one")
    options.sample(parser)
    parser.add_argument("--list", action="store_true", help="only list the variants")
    parser.add_argument("--image", default="trixie", metavar="NAME", help="lab image")
    parser.add_argument("-k", dest="keyword", metavar="EXPR", help="only matching tests")
    parser.add_argument(
        *("--results", "-o"),
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="parent folder of the results (default: ./results)",
    )
    parser.add_argument("--accel", choices=("kvm", "tcg"), default="", help="how QEMU runs it")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.proof.variants import command as variants_command

    return variants_command.execute(arguments, sys.stdout, say)
