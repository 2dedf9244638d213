# SPDX-License-Identifier: GPL-2.0-only
"""The command `gate` of the command line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kpatch import kernel, programs
from kpatch.errors import KernelTreeError, ProgramFailed
from kpatch.gate import Request
from kpatch.kernel import KernelTree

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_IMAGE = "trixie"


def add(
    commands: Commands,
    common: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
) -> None:
    """Add the command to a parser."""
    one = commands.add_parser(
        "gate",
        parents=[common],
        help="judge a patch series for the kernel, patch by patch",
        description="Judge a patch series for the kernel: does each patch apply, keep to the "
        "style, say why, configure and build without new warnings; with --boot, does the driver "
        "keep the migration protocol. The tree is only read.",
        epilog="Exit codes: 0 passed, 1 a patch failed, 2 wrong input, 3 the kernel died or hung "
        "in the virtual machine, 4 the lab failed.",
    )
    one.add_argument(
        "series",
        metavar="SERIES",
        help="folder of patches, mailbox file, or BASE..TIP in the tree",
    )
    one.add_argument(
        "--tree", metavar="LINUX", type=Path, required=True, help="kernel source tree; only read"
    )
    one.add_argument(
        "--boot",
        nargs="?",
        const="tip",
        default="",
        choices=("tip", "each"),
        help="run the conformance suite on the driver in the lab's virtual machine: with all "
        "patches (tip), or with each patch after which it has the migration region (each)",
    )
    one.add_argument(
        "--image",
        metavar="NAME",
        help=f"lab image with the kernel of the tree's version (default: {_IMAGE})",
    )
    one.add_argument(
        "--root", metavar="IMAGE_ROOT", type=Path, help="unpacked root of an image, instead"
    )
    one.add_argument(
        "--kernel-tree",
        metavar="PATH",
        type=Path,
        help="kernel build tree to build with, as seen inside the image",
    )
    one.add_argument(
        "-o",
        "--results",
        metavar="DIR",
        type=Path,
        help="folder for gate.json, gate.md, junit.xml and logs (default: results/gate-TIME)",
    )
    one.add_argument(
        "--require-signoff", action="store_true", help="fail a patch without Signed-off-by"
    )
    one.add_argument("--no-sparse", dest="sparse", action="store_false", help="build without C=1")
    one.add_argument(
        "--fresh", action="store_true", help="judge again what an earlier run has judged"
    )
    one.set_defaults(command=run)


def request(arguments: argparse.Namespace) -> Request:
    """Return what the options ask for; makes the image if it has to be made."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    image = arguments.image or ("" if arguments.root else _IMAGE)
    return Request(
        what=arguments.series,
        tree=arguments.tree,
        kernel=_kernel(arguments, image),
        results=arguments.results or Path("results", f"gate-{now}"),
        store=_cache() / "gate",
        boot=arguments.boot,
        image=image,
        signoff=arguments.require_signoff,
        sparse=arguments.sparse,
        fresh=arguments.fresh,
    )


def _kernel(arguments: argparse.Namespace, image: str) -> KernelTree:
    root = arguments.root or _image_root(image)
    return kernel.find(root, arguments.kernel_tree)


def _image_root(name: str) -> Path:
    """Return the root of a lab image, which the lab makes if it is not there.

    Raises:
        KernelTreeError: There is no such image, or it cannot be made.
    """
    argv = [sys.executable, "-m", "conformance", "image", name]
    try:
        done = programs.run(argv, timeout=3600)
    except ProgramFailed as error:
        last = error.tail.strip().splitlines()
        raise KernelTreeError(
            f"The lab image {name} is not to be had: {last[-1] if last else error}"
        ) from error
    found = re.search(rf"^{re.escape(name)}: (/.*)$", done.stdout, re.M)
    if not found:
        raise KernelTreeError(f"The lab does not tell where its image {name} is: {done.stdout}")
    return Path(found[1], "root")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VFIO_KIT_CACHE") or Path(base, "vfio-migration-kit"))
