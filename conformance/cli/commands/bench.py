# SPDX-License-Identifier: GPL-2.0-only
"""The command ``bench``: measure a driver in the lab."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance.cli import options
from conformance.cli.options import Say

HELP = "measure the cost of a driver"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.set_defaults(keyword="", rule=[], walks=None)
    options.lab(parser)
    options.results(parser)
    group = parser.add_argument_group("how long a check takes")
    group.add_argument(
        "--kit",
        action="store_true",
        help="measure the kit instead: the check of a changed driver, as ratios",
    )
    group.add_argument("--against", default="", metavar="COMMIT", help="also to a commit of it")
    group.add_argument(
        "--rounds",
        type=options.positive,
        default=2,
        metavar="N",
        help="measure each N times (default: %(default)s)",
    )


settle = options.named_device


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.bench.command import bench
    from conformance.errors import UsageError
    from conformance.running import paths

    if arguments.kit:
        return _kit(arguments, say)
    request = options.request(arguments)
    if request.stranger:
        raise UsageError(
            "bench measures version 1 of the protocol, which no stranger speaks. Name a device."
        )
    if request.machine.software:
        raise UsageError(
            f"{request.name} cannot be compared with plain vfio-pci: it is a software "
            "device. Name one that is a PCI function."
        )
    if arguments.dry_run:
        return options.dry(arguments, say)
    name = f"bench-{request.name}"
    results = paths.new_results(arguments.results, name, request.definition.name)
    bench(request, results.absolute(), sys.stdout)
    return 0


def _kit(arguments: argparse.Namespace, say: Say) -> int:
    from conformance.bench import kit
    from kpatch.device import load as devices

    devices.load(arguments.device)  # its mistakes are reported once
    given = Path(arguments.device)
    description = given if given.exists() else devices.FOLDER / f"{arguments.device}.toml"
    lines = kit.measure(description, arguments.image, arguments.against, arguments.rounds, say)
    for line in lines:
        say(line)
    return 0
