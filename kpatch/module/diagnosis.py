# SPDX-License-Identifier: GPL-2.0-only
"""Says whether a kernel will load a module."""

from __future__ import annotations

from pathlib import Path

from kpatch.kernel.tree import KernelTree
from kpatch.module import findings
from kpatch.module.finding import Finding
from kpatch.module.info import ModuleInfo, read


def diagnose(
    ko: Path | ModuleInfo, tree: KernelTree | None, release: str | None = None
) -> list[Finding]:
    """Return what speaks against loading a module, and what else is worth knowing of it.

    Args:
        ko: The module.
        tree: The build tree of the kernel; without it, only what the module says is judged.
        release: The release of the kernel that is to load it, if not that of the tree.

    Raises:
        ModuleFileError: It is not a kernel module, or cannot be read.
        KernelTreeError: The tree cannot be read.
    """
    info = ko if isinstance(ko, ModuleInfo) else read(ko)
    return findings.check(info, tree, release)
