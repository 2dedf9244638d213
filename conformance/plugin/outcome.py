# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on one test, out of the reports of its three phases."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import PurePath
from typing import Self

import pytest

from conformance.events.kinds import Failure, Result, TestOutcome
from conformance.plugin.checks import RequirementFailed

#: What pytest puts before the reason: the name of the exception.
_NAME = re.compile(r"^(?:[\w.]+\.)?(?:Skipped|NotApplicable): ")
_KERNEL_LINES = 200  # more than a report with its call trace needs


class Cause(Enum):
    """What made a phase of a test fail."""

    REQUIREMENT = auto()  # a check says that the device broke a rule
    KERNEL = auto()  # the kernel reported trouble meanwhile
    SKIP = auto()  # it was skipped, and --vfio-no-skips forbids that
    ERROR = auto()  # an exception that no check raised


@dataclass(frozen=True)
class Blame:
    """Why a phase failed, and the words for it."""

    cause: Cause
    failure: Failure

    @classmethod
    def of(cls, cause: Cause, *, expected: str, actual: str) -> Self:
        """Blame something that happened while the test ran, and breaks no rule in particular."""
        message = f"expected {expected}, got {actual}"
        return cls(cause, Failure("", "run the test", expected, actual, message, ""))


def rules_of(item: pytest.Item) -> list[str]:
    """Return the ids of an item's rule markers, nearest first, each once."""
    ids = (rule for marker in item.iter_markers("rule") for rule in marker.args)
    return list(dict.fromkeys(ids))


def blame_of(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> Blame | None:
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
        rule = error.rule or next(iter(rules_of(item)), "no rule")
        message = f"{rule}: {error}"
        broken = Failure(rule, error.did, error.expected, error.actual, message, where)
        return Blame(Cause.REQUIREMENT, broken)
    message = f"{type(error).__name__}: {error}"
    raised = Failure("", f"{call.when} of the test", "no error", message, message, where)
    return Blame(Cause.ERROR, raised)


@dataclass
class Tally:
    """Collects the phases of one test."""

    outcome: TestOutcome = TestOutcome.PASSED
    duration: float = 0.0
    failure: Failure | None = None
    skip: str | None = None
    calls: list[str] = field(default_factory=list)
    klog: list[str] = field(default_factory=list)
    switched_off: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        report: pytest.TestReport,
        blame: Blame | None,
        calls: list[str],
        *,
        applicable: bool = True,
    ) -> None:
        """Take in a phase.

        A broken requirement or a kernel report is a failure in any phase; another error in
        setup or teardown is an error, as pytest has it. The first one counts.
        """
        if report.failed:
            if self.failure is None and blame is not None:
                error = blame.cause is Cause.ERROR and report.when != "call"
                self.outcome = TestOutcome.ERROR if error else TestOutcome.FAILED
                self.failure = blame.failure
            elif self.failure is None:
                self.outcome = TestOutcome.ERROR
            self.calls = calls
        elif report.skipped and self.outcome is TestOutcome.PASSED:
            self.outcome = TestOutcome.SKIPPED if applicable else TestOutcome.NOT_APPLICABLE
            self.skip = self.skip_reason(report)

    @staticmethod
    def skip_reason(report: pytest.TestReport) -> str:
        """Return why a phase was skipped, without file and line."""
        if isinstance(report.longrepr, tuple):
            return _NAME.sub("", str(report.longrepr[2]))
        return str(report.longrepr)

    def result(self, name: str, rules: Sequence[str], observed: Mapping[str, str]) -> Result:
        """Return the event of the test's end."""
        return Result(
            id=name,
            rules=tuple(rules),
            outcome=self.outcome,
            duration=round(self.duration, 4),
            observed=observed,
            failure=self.failure,
            skip=self.skip,
            calls=tuple(self.calls),
            klog=tuple(self.klog[-_KERNEL_LINES:]),
            switched_off=self.switched_off,
        )
