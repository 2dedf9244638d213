# SPDX-License-Identifier: GPL-2.0-only
"""The command `series` of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kpatch.device import load as device
from kpatch.device.protocols import PROTOCOLS
from kpatch.errors import SeriesError
from kpatch.series.mail import Version
from kpatch.series.make import SeriesRequest

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands, run: Callable[[argparse.Namespace], int]) -> None:
    """Add the command to a parser."""
    one = commands.add_parser(
        "series",
        help="write the driver as a patch series for a kernel source tree",
        description="Write the driver as a patch series for a kernel source tree, which is only "
        "read. With --for qemu: what QEMU needs to migrate a device with a saving layout. The "
        "author is git's user.name and user.email.",
    )
    one.add_argument(
        "device",
        nargs="?",
        metavar="DEVICE",
        help="name of a known device, or the path of a description; not with --for qemu",
    )
    one.add_argument(
        "--for",
        dest="project",
        choices=("linux", "qemu"),
        default="linux",
        help="whose source tree it is (default: %(default)s)",
    )
    one.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="version of the migration protocol that the driver speaks (default: the first that "
        "the description has)",
    )
    one.add_argument(
        "--tree",
        metavar="TREE",
        type=Path,
        required=True,
        help="source tree: a git checkout, or the unpacked source of a distribution",
    )
    one.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the patches"
    )
    one.add_argument(
        "--base", metavar="COMMIT", default="HEAD", help="commit to base it on, in a git tree"
    )
    one.add_argument(
        "-v", "--reroll-count", metavar="N", type=int, default=1, help="version of the series"
    )
    one.add_argument(
        "--previous",
        metavar="DIR",
        type=Path,
        help="folder of the previous version, for the range-diff in the cover letter",
    )
    one.add_argument(
        "--rfc",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="mark it RFC, as a deprecated interface or a new one asks for (default: yes)",
    )
    one.add_argument("-s", "--signoff", action="store_true", help="add your own Signed-off-by")
    one.add_argument(
        "--tested",
        metavar="FILE",
        type=Path,
        help="gate.json of a gate run of this series, for the test notes of the cover letter",
    )
    one.add_argument(
        "--no-recipients",
        dest="ask",
        action="store_false",
        help="do not ask the tree's get_maintainer.pl for recipients",
    )
    one.set_defaults(command=run)


def request(arguments: argparse.Namespace) -> SeriesRequest:
    """Return what the options ask for.

    Raises:
        SeriesError: No device is named.
    """
    if arguments.device is None:
        raise SeriesError("A series for Linux is of a driver: name its DEVICE.")
    described = device.load(arguments.device)
    spoken = device.spoken(described, arguments.protocol)
    return SeriesRequest(
        device=described,
        tree=arguments.tree,
        protocol=arguments.protocol or spoken[0],
        base=arguments.base,
        version=Version(arguments.reroll_count, arguments.previous, arguments.rfc),
        signoff=arguments.signoff,
        ask=arguments.ask,
        tested=arguments.tested,
    )
