# SPDX-License-Identifier: GPL-2.0-only
"""The options of the command ``doctor``. Standard library only."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.set_defaults(command="doctor")
    parser.description = (
        "Say why a PCI function, or this machine, cannot be migrated or tested. Changes nothing. "
        "Exit codes: 0 nothing blocks, 1 something does, 2 usage."
    )
    parser.add_argument(
        "bdf",
        nargs="?",
        default="",
        metavar="BDF",
        help="the address of a PCI function, such as 0000:3b:02.0; without it the machine",
    )
    parser.add_argument(
        "--for",
        dest="scope",
        choices=("function", "lab", "all"),
        help="check only the functions of this machine, or only what the lab needs (default: "
        "both; with BDF: function)",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        dest="open_it",
        help="open the device, if a VFIO driver has it and nobody uses it, to see what it "
        "offers; this resets the function",
    )
    parser.add_argument("--module", type=Path, metavar="FILE.ko", help="judge this module as well")
    parser.add_argument("--json", action="store_true", help="print JSON")
