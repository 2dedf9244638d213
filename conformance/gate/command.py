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

from conformance.gate import report
from conformance.gate import run as gate
from conformance.gate.run import Request
from kpatch.errors import KernelTreeError, ProgramFailed
from kpatch.kernel import tree as kernel
from kpatch.kernel.tree import KernelTree
from kpatch.tools import programs

_IMAGE = "trixie"


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Judge a series, leave the results in a folder, and return the exit code."""
    asked = request(arguments)
    judged = gate.judge(asked, say)
    report.write(judged, asked.results)
    say("\n".join(["", *report.table(judged)]))
    say(f"The results are in {asked.results}.")
    return judged.exit_code


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
