# SPDX-License-Identifier: GPL-2.0-only
"""The command ``restore``: undo what a killed run has left."""

from __future__ import annotations

import argparse

from conformance.cli.options import Say

HELP = "undo what a killed run has left on this machine"


def add(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no options of its own."""


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.host import commands

    return commands.restore(arguments, say)
