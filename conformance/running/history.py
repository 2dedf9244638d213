# SPDX-License-Identifier: GPL-2.0-only
"""What earlier runs of the suite have shown: how long each test takes, and which ones failed.

And of what driver: the one that comes next may differ in a few lines only.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.events.kinds import BAD, TestOutcome
from conformance.report.files import write_whole
from conformance.report.results import TestRecord
from conformance.running import paths


@dataclass
class History:
    """What is known of the tests of one driver on one image.

    Attributes:
        path: The file that keeps it; it need not exist.
        lengths: Seconds that each test took when it last ran.
        failed: The tests that failed when they last ran, or during which the kernel died.
        sources: Name and text of each source of the driver that was judged last.
    """

    path: Path
    lengths: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, *names: str) -> History:
        """Return the history that goes by some names; an empty one if there is none, or no more."""
        name = re.sub(r"[^\w.-]+", "-", "-".join(names))
        found = cls(paths.cache() / "history" / f"{name}.json")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            raw: Mapping[str, Any] = json.loads(found.path.read_text("utf-8"))
            lengths = {str(test): float(value) for test, value in raw["lengths"].items()}
            sources = {str(name): str(text) for name, text in raw["sources"].items()}
            found.failed = set(map(str, raw["failed"]))
            found.lengths, found.sources = lengths, sources
        return found

    def update(
        self, records: Iterable[TestRecord], sources: Mapping[str, str], *, died: bool
    ) -> None:
        """Take in the tests of a run, and keep them for the next one.

        Args:
            records: The tests.
            sources: Those of the driver.
            died: Whether the kernel did, which tests that were running then are blamed for.

        Raises:
            ReportError: The file cannot be written.
        """
        for record in records:
            if record.result:
                self.lengths[record.id] = record.result.duration
            if record.outcome in BAD or (died and record.outcome is TestOutcome.RUNNING):
                self.failed.add(record.id)
            elif record.result:
                self.failed.discard(record.id)
        self.sources = dict(sources)
        document = {
            "lengths": self.lengths,
            "failed": sorted(self.failed),
            "sources": self.sources,
        }
        write_whole(self.path, json.dumps(document, indent=1) + "\n")

    def expected(self, tests: Iterable[str]) -> float | None:
        """Return the seconds that some tests will take by one worker; None if nobody knows.

        Args:
            tests: Node ids, without parameters for all tests of a function; none for all tests.
        """
        short = {test.rpartition("/")[2] for test in tests}
        known = [
            seconds
            for test, seconds in self.lengths.items()
            if not short or test in short or test.partition("[")[0] in short
        ]
        return sum(known) if known else None
