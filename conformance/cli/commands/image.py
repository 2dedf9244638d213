# SPDX-License-Identifier: GPL-2.0-only
"""The command ``image``: make the images of the lab."""

from __future__ import annotations

import argparse

from conformance.cli.options import Say

HELP = "make lab images"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="images (default: all that judge drivers)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    parser.add_argument(
        "--prune", action="store_true", help="remove images whose definition has changed"
    )


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.lab.image import definitions as known
    from conformance.lab.image import image as images
    from conformance.running.steps import Steps
    from kpatch.tools import programs

    steps = Steps(say)
    definitions = [known.image(name) for name in arguments.names or known.images()]
    definitions = [one for one in definitions if arguments.names or not one.for_tests]
    if arguments.dry_run:
        with programs.dry_run(say):
            for definition in definitions:
                images.provide(definition, steps)
        return 0
    for definition in definitions:
        made = images.provide(definition, steps)
        manifest = made.manifest
        say(
            f"{definition.name}: {made.folder}\n"
            f"  {definition.summary}: Linux {made.release}, QEMU {manifest['qemu']}, "
            f"Python {manifest['python']}, pytest {manifest['pytest']}"
        )
    if arguments.prune:
        for path in images.prune([known.image(name) for name in known.images()]):
            say(f"removed {path}")
    return 0
