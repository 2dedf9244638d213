# SPDX-License-Identifier: GPL-2.0-only
"""The command ``matrix``: devices x kernels."""

from __future__ import annotations

import argparse
from pathlib import Path

from conformance.cli.options import PROTOCOLS, Say, positive

HELP = "judge all devices on all kernels: one table"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        "Judge the drivers of devices on kernels, and print one table. The exit code is the worst "
        "of the cells': 130 interrupted, 3 a kernel died, 1 a requirement failed, 4 the lab "
        "failed, 2 wrong options or nothing was run, 0 all that were run conform."
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="NAME",
        help="a device; may be repeated (default: all)",
    )
    parser.add_argument(
        "--stranger",
        action="append",
        default=[],
        metavar="NAME",
        help="a driver of the kernel's source, see `check --stranger`; may be repeated",
    )
    parser.add_argument(
        "--protocol",
        action="append",
        choices=PROTOCOLS,
        default=[],
        help="version of the migration protocol of the devices; may be repeated (default: both)",
    )
    parser.add_argument(
        "--both",
        action="store_true",
        help="with further rows: drivers that speak both versions in one module, judged by each",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME",
        help="an image; may be repeated (default: all with a kernel of their distribution)",
    )
    parser.add_argument(
        "--kernel-tree",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a built kernel tree, as one more column; may be repeated",
    )
    parser.add_argument(
        "--tree-image",
        default="trixie",
        metavar="NAME",
        help="the image with the compiler of these trees (default: %(default)s)",
    )
    parser.add_argument(
        *("--jobs", "-j"),
        type=positive,
        default=0,
        metavar="N",
        help="cells in parallel (default: one for each processor; "
        "a guest without KVM keeps one busy)",
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="ID",
        help="only tests of this rule, or of all below it; may be repeated",
    )
    parser.add_argument("-k", dest="keyword", metavar="EXPR", help="only matching tests")
    parser.add_argument("--cold", action="store_true", help="boot even if there is a snapshot")
    parser.add_argument(
        "--accel", choices=("kvm", "tcg"), default="", help="how QEMU runs the guests"
    )
    parser.add_argument(
        "--list-json",
        action="store_true",
        help='print {"include": [...]} for the matrix of a CI, and run nothing',
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
    parser.add_argument(
        *("--results", "-o"),
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="parent folder of the results (default: ./results)",
    )


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.matrix import command

    return command.run(arguments, say)
