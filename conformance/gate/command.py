# SPDX-License-Identifier: GPL-2.0-only
"""The command `gate` of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from conformance.errors import UsageError
from conformance.gate import report
from conformance.gate import run as gate
from conformance.gate.run import GateRequest
from conformance.lab.image import definitions
from conformance.lab.image import image as images
from conformance.report.text import printable
from conformance.running import paths
from conformance.running.steps import Steps
from kpatch.kernel import tree as kernel

_IMAGE = "trixie"
_BUILD_IMAGE = "kernel-build"


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Judge a series, leave the results in a folder, and return the exit code."""

    def shown(text: str) -> None:
        say(printable(text))

    asked = request(arguments, shown)
    judged = gate.judge(asked, shown)
    report.write(judged, asked.results)
    shown("\n".join(["", *report.table(judged)]))
    shown(f"The results are in {asked.results}.")
    return judged.exit_code


def request(arguments: argparse.Namespace, say: Callable[[str], None]) -> GateRequest:
    """Return what the options ask for; makes the image if it has to be made."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    if arguments.build and (arguments.root or arguments.kernel_tree):
        raise UsageError(
            "--build builds the kernel of --tree in an image of the lab; it does not go together "
            "with --root and --kernel-tree, which name something that was built."
        )
    chosen = _BUILD_IMAGE if arguments.build else _IMAGE
    image = arguments.image or ("" if arguments.root else chosen)
    made = images.provide(definitions.image(image), Steps(say)) if image else None
    root = made.root if made and not arguments.root else arguments.root
    return GateRequest(
        what=arguments.series,
        tree=arguments.tree,
        kernel=kernel.find(root, arguments.kernel_tree),
        # Without "..": it is shown in sandboxes, which do not have the folders on the way.
        results=(arguments.results or Path("results", f"gate-{now}")).resolve(),
        store=paths.cache() / "gate",
        boot=arguments.boot,
        image=image,
        signoff=arguments.require_signoff,
        sparse=arguments.sparse,
        fresh=arguments.fresh,
        whole=made.key if made and arguments.build else "",
    )
