# SPDX-License-Identifier: GPL-2.0-only
"""The command ``check``: build a driver and judge it, in the lab or on this machine."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.cli import options
from conformance.cli.options import Say

if TYPE_CHECKING:
    from conformance.lab.check.prepare import LabRequest

HELP = "build a driver, run the suite against it, print a verdict"
USAGE = "%(prog)s [DEVICE] [OPTION ...] [-- PYTEST-ARGUMENT ...]"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.lab(parser)
    options.results(parser)
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="folder for the results, instead of a new one in --results",
    )
    options.tests(parser)
    options.guests(parser)
    group = parser.add_argument_group(
        "on this machine",
        "With --bdf the driver is built for the running kernel, bound to functions of this "
        "machine and judged there; then all changes are undone. --kernel-tree then names "
        "the build tree of the running kernel, if it is not in /lib/modules; options for images "
        "and virtual machines do not apply.",
    )
    group.add_argument("--bdf", metavar="BDF", help="the PCI function, such as 0000:3b:02.0")
    group.add_argument("--peer", metavar="BDF", help="a second one, as destination")
    group.add_argument(
        "--unbind",
        action="store_true",
        help="consent to unbind the functions from their drivers",
    )
    options.registers(group)


def settle(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program, with status 2, if options were given that do not go together."""
    options.named_device(parser, arguments)
    if arguments.bdf:
        return
    names = (
        "peer",
        "unbind",
        "physical",
        "scratch",
        "volatile",
        "doorbell",
        "enable",
        "kick",
        "trigger",
        "busy",
        "packets",
    )
    given = [f"--{name}" for name in names if getattr(arguments, name)]
    if given:
        parser.error(f"{given[0]} is for functions of this machine: name one with --bdf")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    if arguments.bdf:
        from conformance.host import commands

        return commands.check(arguments, say)
    from conformance.lab.check import run as lab
    from conformance.running import paths

    request = options.request(arguments)
    if arguments.dry_run:
        return options.dry(arguments, say)
    name, image = request.name, request.definition.name
    if request.options.module:
        name = request.options.module.name.partition(".")[0]
    several = len(request.judged) > 1

    def folder(protocol: str) -> Path:
        if not arguments.into:
            part = f"{name}-{protocol}" if several else name
            return paths.new_results(arguments.results, part, image)
        into: Path = arguments.into
        if several:
            into /= protocol
        return paths.results(into)

    return lab.check_each(request, folder, sys.stdout, lambda one: functools.partial(_touched, one))


def _touched(
    request: LabRequest, before: Mapping[str, str], after: Mapping[str, str]
) -> Sequence[str]:
    """Return the tests that a change of the driver concerns, by its mutants."""
    from conformance.proof.mutants import touched

    if request.stranger:
        return []
    protocol = request.options.protocol or options.PROTOCOLS[0]
    return touched.tests(before, after, request.name, protocol)
