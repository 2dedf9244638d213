# SPDX-License-Identifier: GPL-2.0-only
"""The command ``run``: judge the driver that is bound."""

from __future__ import annotations

import argparse

from conformance.cli import options
from conformance.cli.options import Say
from conformance.running.limits import QUIET

HELP = "run the suite on this machine, against the driver that is bound"
USAGE = "%(prog)s --device BDF [--peer BDF] [OPTION ...] [-- PYTEST-ARGUMENT ...]"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--device",
        dest="judged",
        required=True,
        metavar="BDF",
        help="the device, such as 0000:3b:02.0, bound to the driver to be judged",
    )
    parser.add_argument("--peer", metavar="BDF", help="a second one, as destination")
    parser.add_argument(
        "--quiet",
        type=options.seconds,
        default=QUIET,
        metavar="SECONDS",
        help="seconds without an event after which the suite counts as hung (default: %(default)g)",
    )
    options.protocol(parser, "judged", "the latest that the driver offers")
    parser.set_defaults(unbind=False)
    options.registers(parser)
    options.results(parser)
    options.tests(parser)


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.host import commands

    return commands.run(arguments, say)
