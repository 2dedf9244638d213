# SPDX-License-Identifier: GPL-2.0-only
"""The command ``gate``: judge a patch series."""

from __future__ import annotations

import argparse
from pathlib import Path

from conformance.cli.options import Say

HELP = "judge a patch series for the kernel, patch by patch"

_IMAGE = "trixie"
_BUILD_IMAGE = "kernel-build"

_DESCRIPTION = (
    "Judge a patch series for the kernel: does each patch apply, keep to the style, say why, "
    "configure and build without new warnings; with --boot, does the driver keep the migration "
    "protocol. The tree is only read."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "series",
        metavar="SERIES",
        help="folder of patches, mailbox file, or BASE..TIP in the tree",
    )
    parser.add_argument(
        "--tree", metavar="LINUX", type=Path, required=True, help="kernel source tree; only read"
    )
    parser.add_argument(
        "--boot",
        nargs="?",
        const="tip",
        default="",
        choices=("tip", "each"),
        help="run the conformance suite on the driver in the lab's virtual machine: with all "
        "patches (tip), or after each patch with which it can migrate (each)",
    )
    parser.add_argument(
        "--build",
        action="store_true",
        help="build the whole kernel of the tree, small, and boot that: for a tree of any version, "
        "and for changes of core code; the first time takes some minutes",
    )
    parser.add_argument(
        "--image",
        metavar="NAME",
        help=f"lab image with the kernel of the tree's version (default: {_IMAGE}); with "
        f"--build, the image to build in (default: {_BUILD_IMAGE})",
    )
    parser.add_argument(
        "--root",
        metavar="IMAGE_ROOT",
        type=Path,
        help="unpacked root of an image, instead of --image",
    )
    parser.add_argument(
        "--kernel-tree",
        metavar="PATH",
        type=Path,
        help="kernel build tree to build with, as seen inside the image",
    )
    parser.add_argument(
        "-o",
        "--results",
        metavar="DIR",
        type=Path,
        help="folder for gate.json, gate.md, junit.xml and logs (default: results/gate-TIME)",
    )
    parser.add_argument(
        "--require-signoff", action="store_true", help="fail a patch without Signed-off-by"
    )
    parser.add_argument(
        "--no-sparse", dest="sparse", action="store_false", help="build without C=1"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="judge again what an earlier run has judged"
    )


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance.gate import command

    return command.run(arguments, say)
