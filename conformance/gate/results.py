# SPDX-License-Identifier: GPL-2.0-only
"""What the gate found: of each patch, of the series, and how long it is kept.

A result is kept under a hash of everything it follows from: the tree before and after the patch,
its message, the kernel that it was built for and this kit. So a patch that has not changed, on a
base that has not, is not judged again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["passed", "failed", "skipped", "noted", "not built"]

STEPS = ("apply", "message", "checkpatch", "maintainers", "kconfig", "headers", "build", "boot",
         "selftests")  # fmt: skip
"""The steps, in the order of a table."""


@dataclass(frozen=True)
class Step:
    """What came of one step for one patch.

    Attributes:
        name: Which step, of `STEPS`.
        verdict: "noted" passes, with a remark; "skipped" has not been tried; "not built" says that
            no compiler saw the change, or not all of it.
        reason: Why, in a line; empty for "passed".
        details: What was found, a line each.
        log: The file with all of the output, in the folder of results; empty without one.
        seconds: How long it took.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    details: tuple[str, ...] = ()
    log: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class PatchResult:
    """What came of one patch.

    Attributes:
        number: Its place in the series, from 1 on.
        subject: Its subject without the prefix in brackets.
        steps: What was done, in order.
        kept: Whether it is the result of an earlier run.
        warnings: How often the build of the tree with the patch gives each warning, by file and
            text; what the next patch is compared with.
    """

    number: int
    subject: str
    steps: tuple[Step, ...] = ()
    kept: bool = False
    warnings: Mapping[str, int] = field(default_factory=dict)

    def plus(self, *steps: Step) -> PatchResult:
        """Return it with more steps."""
        return replace(self, steps=(*self.steps, *steps))

    @property
    def verdict(self) -> str:
        """The patch as a whole: "failed", "not built" or "passed"."""
        if self.failures:
            return "failed"
        return "not built" if self.unbuilt else "passed"

    @property
    def unbuilt(self) -> list[Step]:
        """The steps that say that no compiler saw the change, or not all of it."""
        return [step for step in self.steps if step.verdict == "not built"]

    @property
    def failures(self) -> list[Step]:
        """The steps that failed."""
        return [step for step in self.steps if step.verdict == "failed"]

    def step(self, name: str) -> Step | None:
        """Return a step by its name."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True)
class Report:
    """What came of a series.

    Attributes:
        series: What was judged, as the user named it.
        tree: The kernel source tree.
        version: Its version.
        environment: The kernel and the compiler that patches were built with.
        patches: In order.
        exit_code: As that of the command.
    """

    series: str
    tree: str
    version: str
    environment: str
    patches: tuple[PatchResult, ...] = ()
    exit_code: int = 0

    @property
    def passed(self) -> bool:
        """Whether no patch failed."""
        return self.exit_code == 0 and not any(patch.failures for patch in self.patches)

    def data(self) -> dict[str, Any]:
        """Return it for JSON; the format of gate.json."""
        return {
            "schema": 1,
            "verdict": "passed" if self.passed else "failed",
            "exit_code": self.exit_code,
            "series": self.series,
            "tree": self.tree,
            "version": self.version,
            "environment": self.environment,
            "patches": [
                {
                    "number": patch.number,
                    "subject": patch.subject,
                    "verdict": patch.verdict,
                    "kept": patch.kept,
                    "steps": [asdict(step) for step in patch.steps],
                }
                for patch in self.patches
            ],
        }


class Store:
    """Results of earlier runs.

    Args:
        folder: Where they are kept; made when the first one is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> tuple[list[Step], dict[str, int], Mapping[str, str]] | None:
        """Return steps, warnings and logs (name to text) under a key, or None."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads((self._folder / f"{key}.json").read_text("utf-8"))
            steps = [Step(**{**one, "details": tuple(one["details"])}) for one in data["steps"]]
            return steps, dict(data["warnings"]), dict(data["logs"])
        return None

    def save(
        self,
        key: str,
        steps: Sequence[Step],
        warnings: Mapping[str, int],
        logs: Mapping[str, str],
    ) -> None:
        """Keep what a patch came to. A store that cannot be written costs time, nothing else."""
        data = {"steps": [asdict(step) for step in steps], "warnings": warnings, "logs": logs}
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / f".{key}.{os.getpid()}"
            new.write_text(json.dumps(data), "utf-8")
            new.replace(self._folder / f"{key}.json")
