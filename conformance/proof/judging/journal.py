# SPDX-License-Identifier: GPL-2.0-only
"""Keeps the outcomes of trials on disk, so that a run that was stopped can go on."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from conformance.lab.guest.payload import Trial
from conformance.proof.judging.trials import Outcome


class Journal:
    """Outcomes on disk.

    Args:
        path: The file, one JSON object a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Outcome]:
        """Return what is known, the newest of each name. A line that was cut is skipped."""
        found: dict[str, Outcome] = {}
        if self._path.exists():
            for line in self._path.read_text("utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    outcome = Outcome.from_json(json.loads(line))
                    found[outcome.name] = outcome
        return found

    def add(self, outcome: Outcome) -> None:
        """Note an outcome."""
        cut = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" * cut + json.dumps(outcome.as_json()) + "\n")

    def known(self, trial: Trial) -> Outcome | None:
        """Return the outcome of the same module and at least the same tests, if there is one."""
        outcome = self.read().get(trial.name)
        if outcome is None or outcome.file != trial.module.name:
            return None
        return outcome if set(trial.tests) <= set(outcome.asked) else None
