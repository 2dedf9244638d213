# SPDX-License-Identifier: GPL-2.0-only
"""The command ``watch``: check again whenever a source of the driver is saved."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance.cli.commands import check
from conformance.cli.options import Say

HELP = "check, and again on each save of a description, template or C file, until Ctrl-C"
USAGE = check.USAGE

add = check.add


def settle(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program, with status 2, if options were given that do not go together."""
    check.settle(parser, arguments)
    for name in ("bdf", "into", "dry_run"):
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} is for one run in which nothing changes: use `check` with it")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, until the user interrupts it."""
    from conformance.running import watch

    places = list(watch.SOURCES)
    for own in (arguments.device, arguments.module):
        if own and Path(own).is_file():
            places.append(Path(own).absolute())
    command = [sys.executable, "-m", "conformance", "check", *arguments.words]
    if arguments.pytest_arguments:
        command += ["--", *arguments.pytest_arguments]
    watch.watch(command, places, say)
    return 0
