# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on one test, out of the reports of its three phases."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, Self

import pytest

from conformance.plugin.checks import RequirementFailed

#: What pytest puts before the reason: the name of the exception.
_NAME = re.compile(r"^(?:[\w.]+\.)?(?:Skipped|NotApplicable): ")
_KERNEL_LINES = 200  # more than a report with its call trace needs


@dataclass(frozen=True)
class Failure:
    """Why a test failed, as the report tells it; ``rule`` is None if no requirement is named."""

    rule: str | None
    did: str
    expected: str
    actual: str
    message: str
    where: str

    @classmethod
    def of(cls, did: str, expected: str, actual: str, *, where: str = "") -> Self:
        """Make one that names no rule."""
        return cls(None, did, expected, actual, f"expected {expected}, got {actual}", where)


def failure_of(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> Failure | None:
    """Return why a phase failed, None if it did not.

    ``where`` is the innermost line of the test's own file, if it got that far.
    """
    if not report.failed or call.excinfo is None:
        return None
    error = call.excinfo.value
    entries = call.excinfo.traceback
    # By name: a file that was compiled elsewhere has another path in its code.
    ours = (e for e in reversed(entries) if PurePath(e.path).name == item.path.name)
    entry = next(ours, entries[-1])
    where = f"{entry.path}:{entry.lineno + 1}"
    if isinstance(error, RequirementFailed):
        return Failure(error.rule, error.did, error.expected, error.actual, str(error), where)
    message = f"{type(error).__name__}: {error}"
    return Failure(None, f"{call.when} of the test", "no error", message, message, where)


@dataclass
class Tally:
    """Collects the phases of one test."""

    outcome: str = "passed"
    duration: float = 0.0
    failure: Failure | None = None
    skip: str | None = None
    calls: list[str] = field(default_factory=list)
    klog: list[str] = field(default_factory=list)

    def add(
        self,
        report: pytest.TestReport,
        failure: Failure | None,
        calls: list[str],
        *,
        applicable: bool = True,
    ) -> None:
        """Take in a phase.

        A broken requirement or a kernel report is a failure in any phase; another error in
        setup or teardown is an error, as pytest has it. The first one counts.
        """
        self.duration += report.duration
        if report.failed:
            by_rule = failure is not None and (failure.rule or report.when == "call")
            kernel = failure is not None and failure.expected == "a silent kernel"
            skips = failure is not None and failure.actual.startswith("skipped: ")
            if self.failure is None:
                self.outcome = "failed" if by_rule or kernel or skips else "error"
                self.failure = failure
            self.calls = calls
        elif report.skipped and self.outcome == "passed":
            self.outcome = "skipped" if applicable else "not-applicable"
            self.skip = self.skip_reason(report)

    @staticmethod
    def skip_reason(report: pytest.TestReport) -> str:
        """Return why a phase was skipped, without file and line."""
        if isinstance(report.longrepr, tuple):
            return _NAME.sub("", str(report.longrepr[2]))
        return str(report.longrepr)

    def as_event(self) -> dict[str, Any]:
        """Return the fields of the result event."""
        return {
            "outcome": self.outcome,
            "duration": round(self.duration, 4),
            "failure": asdict(self.failure) if self.failure else None,
            "skip": self.skip,
            "calls": self.calls,
            "klog": self.klog[-_KERNEL_LINES:],
        }
