# SPDX-License-Identifier: GPL-2.0-only
"""Cache keys of the gate: one hash per result, over all its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from conformance.gate.state import Work

_HERE = Path(__file__).parent


def of_patch(work: Work, how: Sequence[str]) -> str:
    """Return the key of what came of a patch.

    Args:
        work: The patch, with the states before and after it.
        how: What else decides: kernel and options.
    """
    options = [f"{key}={value}" for key, value in work.now.options.items()]
    trees = [work.before.tree, work.now.tree]
    return _hash([*trees, work.patch.subject, work.patch.body, *how, *options, _code()])


def of_base(parts: Sequence[str]) -> str:
    """Return the key of the warnings of a tree without a patch."""
    return f"base-{_hash([*parts, _code()])}"


def of_boot(parts: Sequence[str]) -> str:
    """Return the key of what the suite made of a driver: of these parts, the suite and the lab."""
    kit = _HERE.parents[1]
    every = [*parts, _digest(kit, "conformance/**/*.py"), _digest(kit, "vm-images/*/*"), _code()]
    return f"boot-{_hash(every)}"


def _code() -> str:
    """Return a hash of the gate itself: what it judges changes with it."""
    return _digest(_HERE, "**/*.py")


def _hash(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


def _digest(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
