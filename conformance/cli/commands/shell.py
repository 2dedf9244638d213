# SPDX-License-Identifier: GPL-2.0-only
"""The command ``shell``: a prompt in the machine of the lab."""

from __future__ import annotations

import argparse

from conformance.cli import options
from conformance.cli.options import Say

HELP = "boot the same machine, with a prompt"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.set_defaults(keyword="", rule=[], walks=None)
    options.lab(parser)
    parser.add_argument("--bare", action="store_true", help="load no driver")


settle = options.named_device


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.lab.check import shell
    from conformance.running import paths
    from conformance.running.steps import Steps

    request = options.request(arguments)
    if arguments.dry_run:
        return options.dry(arguments, say)
    logs = paths.logs() / "shell"
    logs.mkdir(parents=True, exist_ok=True)
    shell.shell(request, logs, Steps(say))
    return 0
