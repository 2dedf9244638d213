# SPDX-License-Identifier: GPL-2.0-only
"""The command `gate` of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from conformance.gate import report
from conformance.gate import run as gate
from conformance.gate.run import Request
from conformance.lab.image import definitions
from conformance.lab.image import image as images
from conformance.running import paths
from conformance.running.steps import Steps
from kpatch.kernel import tree as kernel
from kpatch.kernel.tree import KernelTree

_IMAGE = "trixie"


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Judge a series, leave the results in a folder, and return the exit code."""
    asked = request(arguments, say)
    judged = gate.judge(asked, say)
    report.write(judged, asked.results)
    say("\n".join(["", *report.table(judged)]))
    say(f"The results are in {asked.results}.")
    return judged.exit_code


def request(arguments: argparse.Namespace, say: Callable[[str], None]) -> Request:
    """Return what the options ask for; makes the image if it has to be made."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    image = arguments.image or ("" if arguments.root else _IMAGE)
    return Request(
        what=arguments.series,
        tree=arguments.tree,
        kernel=_kernel(arguments, image, say),
        results=arguments.results or Path("results", f"gate-{now}"),
        store=paths.cache() / "gate",
        boot=arguments.boot,
        image=image,
        signoff=arguments.require_signoff,
        sparse=arguments.sparse,
        fresh=arguments.fresh,
    )


def _kernel(arguments: argparse.Namespace, image: str, say: Callable[[str], None]) -> KernelTree:
    if arguments.root:
        return kernel.find(arguments.root, arguments.kernel_tree)
    made = images.provide(definitions.image(image), Steps(say))
    return kernel.find(made.root, arguments.kernel_tree)
