# SPDX-License-Identifier: GPL-2.0-only
"""Runs a command again whenever a file is saved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import watchfiles

from conformance.running import paths
from kpatch.tools.processes import session

_SUFFIXES = frozenset({".c", ".h", ".j2", ".ko", ".py", ".toml"})
"""Those of files that a run depends on."""

_SETTLE = 300
"""Milliseconds without another change until a save is complete: editors write several files."""

_TICK = 250
"""Milliseconds between two looks whether the run has ended."""

_GRACE = 20.0
"""Seconds a run has to end its guests."""

SOURCES = (
    paths.KIT / "kpatch/devices",
    paths.KIT / "kpatch/templates",
    paths.KIT / "conformance/suite",
    paths.DATA / "strangers",
)
"""Folders with what people edit: descriptions, templates, tests, C files."""


def watch(command: Sequence[str], places: Sequence[Path], say: Callable[[str], None]) -> None:
    """Run a command now and after each change, until Ctrl-C. A change ends a run that goes on.

    Args:
        command: The command.
        places: Files and folders to watch.
        say: Prints a line for the user.

    Raises:
        KeyboardInterrupt: The user has had enough; nothing is left running.
        OSError: The command cannot be started.
    """
    changes = watchfiles.watch(
        *_roots(places),
        watch_filter=lambda _change, path: counts(Path(path), places),
        debounce=4 * _SETTLE,
        step=_SETTLE,
        rust_timeout=_TICK,
        yield_on_timeout=True,
        raise_interrupt=True,
    )
    while True:
        # In a session of its own: Ctrl-C is for this process, which then ends the run once.
        with session(
            command, stdout=sys.stdout.fileno(), stderr=sys.stderr.fileno(), grace=_GRACE
        ) as process:
            waits = False
            for found in changes:
                if found:
                    names = sorted({Path(path).name for _, path in found})
                    say(f"\n== changed: {', '.join(names)}")
                    break
                if not waits and process.poll() is not None:
                    waits = True
                    say("waiting for a change; Ctrl-C ends")


def counts(path: Path, places: Sequence[Path]) -> bool:
    """Return whether a change of a file calls for another run."""
    if path.name.startswith(".") or path.suffix not in _SUFFIXES:
        return False  # what an editor keeps beside a file
    return any(path == place or place in path.parents for place in places)


def _roots(places: Sequence[Path]) -> list[Path]:
    """Return the folders to watch: an editor may replace a file, and a watch on it be lost."""
    return sorted({place if place.is_dir() else place.parent for place in places})
