# SPDX-License-Identifier: GPL-2.0-only
"""The command ``vmm``: QEMU migrates a guest that has the function."""

from __future__ import annotations

import argparse
import sys

from conformance.cli import options
from conformance.cli.options import Say

_QUIET = 600.0
"""Seconds without an event: one scenario may take minutes under emulation within emulation."""

HELP = "let QEMU migrate a guest that has the function, in the lab's machine"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.set_defaults(keyword="", rule=[], walks=None)
    options.lab(parser)
    parser.set_defaults(quiet=_QUIET)
    options.results(parser)
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one, such as `live`; may be repeated",
    )
    parser.add_argument(
        "--short", action="store_true", help="a selection: a refusal and a live migration"
    )


def settle(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Settle the device, the version and the scenarios."""
    options.named_device(parser, arguments)
    arguments.protocol = arguments.protocol or "v2"
    if arguments.protocol != "v2":
        parser.error(
            "QEMU 10 speaks version 2 of the protocol alone: omit --protocol, or say --protocol v2"
        )
    if arguments.stranger:
        parser.error("vmm runs a driver of kpatch/devices or --module: omit --stranger")
    if arguments.image == "bookworm":
        parser.error("vmm runs the QEMU of the image's own suite: bookworm's (7.2) speaks no v2")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.running import paths
    from conformance.vmm.command import vmm
    from conformance.vmm.inside.scenarios import SHORT

    request = options.request(arguments)
    if arguments.dry_run:
        return options.dry(arguments, say)
    chosen = arguments.scenario or (list(SHORT) if arguments.short else [])
    results = paths.new_results(arguments.results, f"vmm-{request.name}", request.definition.name)
    return vmm(request, chosen, results.absolute(), sys.stdout)
