# SPDX-License-Identifier: GPL-2.0-only
"""The command ``doctor``: why a function cannot be migrated or tested."""

from __future__ import annotations

import argparse

from conformance.cli.options import Say
from conformance.doctor import arguments as doctor_options

HELP = "say why a function cannot be migrated or tested here"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    doctor_options.add(parser)


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.doctor import command

    return command.run(arguments, say)
