# SPDX-License-Identifier: GPL-2.0-only
"""From what ends a run to its verdict, the same for the lab and for this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conformance.errors import ConformanceError, DriverError, GuestLost
from conformance.events.errors import EventError
from conformance.report import Conclusion, Reporter, ReportError, Verdict
from conformance.report.settle import ExitCode
from kpatch.errors import KpatchError

PYTEST_LOG = "pytest.log"
"""What pytest printed, in the folder of the results."""

_TAIL = 20
"""Lines of pytest's own output that are shown when it broke."""


def verdict_of(
    work: Callable[[], Verdict], logs: Path | None = None, *also: type[Exception]
) -> Verdict:
    """Return the verdict of a run, whatever ends it.

    Args:
        work: The run.
        logs: The folder that keeps its logs, named if the user interrupts it.
        also: More errors that are the lab's.
    """
    lab_errors: tuple[type[Exception], ...] = (
        ConformanceError,
        KpatchError,
        ReportError,
        EventError,
        OSError,
        *also,
    )
    try:
        return work()
    except KeyboardInterrupt:
        return Verdict.interrupted(*([f"interrupted; the logs are in {logs}"] if logs else []))
    except GuestLost as error:
        return Verdict.kernel_died(error.reason, error.console)
    except DriverError as error:
        return Verdict(Conclusion.REQUIREMENT_FAILED, str(error), error.hint)
    except lab_errors as error:
        return of_error(error)


def of_error(error: Exception) -> Verdict:
    """Map a lab or usage error to a verdict."""
    if getattr(error, "exit_code", None) == Conclusion.BAD_USAGE.exit_code:
        return Verdict.bad_usage(str(error))
    return Verdict.lab_failed(str(error))


def of_pytest(status: int, results: Path, reporter: Reporter) -> Verdict:
    """Return the verdict of a suite that has ended; shows what pytest said if it broke.

    Args:
        status: That of pytest.
        results: The folder with its output.
        reporter: Shows it: no event carries that.
    """
    if status in (ExitCode.OK, ExitCode.TESTS_FAILED):
        return Verdict.completed()
    log = results / PYTEST_LOG
    if log.exists():
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]:
            reporter.note(f"  {line}")
    if status == ExitCode.USAGE_ERROR:
        return Verdict.bad_usage("pytest refused its arguments", "its output is above")
    return Verdict.completed()  # the report knows pytest's status, and what it proves
