# SPDX-License-Identifier: GPL-2.0-only
"""The command ``devices``: the devices of the kit."""

from __future__ import annotations

import argparse

from conformance.cli.options import Say

HELP = "list the devices"


def add(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no options of its own."""


def run(_arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.errors import UnknownMachine
    from conformance.lab.check.prepare import pci_ids
    from conformance.lab.image.definitions import machine_for, machines
    from kpatch.device import load as descriptions

    known = machines()
    for name in descriptions.names():
        device = descriptions.load(name)
        try:
            where = f"machine {machine_for(pci_ids(device), name, known).name}"
        except UnknownMachine:
            where = "no machine of the lab has it: needs a host with the real function"
        say(f"{name}  {', '.join(pci_ids(device)) or 'software'}  {device.summary} ({where})")
    return 0
