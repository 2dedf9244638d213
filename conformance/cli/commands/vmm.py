# SPDX-License-Identifier: GPL-2.0-only
"""The command ``vmm``: QEMU migrates a guest that has the function."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance.cli import options
from conformance.cli.options import Say

_QUIET = 600.0
"""Seconds without an event: one scenario may take minutes under emulation within emulation."""

_OLD = "bookworm-qemu"
"""The image whose QEMU speaks version 1 of the protocol."""

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
        "--aware",
        type=Path,
        metavar="DIR",
        help="build QEMU of this unpacked source with the series of `kpatch series --for qemu`, "
        "which drops conflicting mappings before it saves, and run it instead of the image's",
    )
    parser.add_argument(
        "--short", action="store_true", help="a selection: a refusal and a live migration"
    )


def settle(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Settle the device, the version and the scenarios."""
    options.named_device(parser, arguments)
    arguments.protocol = arguments.protocol or ("v1" if arguments.image == _OLD else "v2")
    if (arguments.protocol == "v1") != (arguments.image == _OLD):
        parser.error(
            f"QEMU 7.2 speaks version 1 of the protocol and later ones version 2: omit --protocol, "
            f"or say --image {_OLD} with --protocol v1, and another image with --protocol v2"
        )
    if arguments.aware and arguments.protocol == "v1":
        parser.error("--aware is of QEMU 10 and later, which speak version 2: omit --protocol v1")
    if arguments.stranger:
        parser.error("vmm runs a driver of kpatch/devices or --module: omit --stranger")
    if arguments.image == "bookworm":
        parser.error(f"the image bookworm has no QEMU: say --image {_OLD}")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.running import paths
    from conformance.vmm.command import vmm
    from conformance.vmm.inside.scenarios import AWARE, SHORT, UNAWARE

    request = options.request(arguments)
    if arguments.dry_run:
        return options.dry(arguments, say)
    short = [name for name in SHORT if not arguments.aware or name not in UNAWARE]
    short += AWARE if arguments.aware else ()
    chosen = arguments.scenario or (short if arguments.short else [])
    results = paths.new_results(arguments.results, f"vmm-{request.name}", request.definition.name)
    return vmm(request, chosen, results.absolute(), sys.stdout, arguments.aware)
