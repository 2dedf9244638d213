# SPDX-License-Identifier: GPL-2.0-only
"""A run of the suite with the driver that is bound, from the request to the verdict."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from conformance import __version__, requirements
from conformance.host import safety, suite
from conformance.host.errors import Reason, Refused
from conformance.host.journal import Journal, the_journal
from conformance.host.paths import HostPaths
from conformance.host.safety import Look, Question
from conformance.host.suite import Job
from conformance.host.undo import undo
from conformance.report import Reporter
from conformance.running import paths
from conformance.running.follow import verdict_of
from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs

Say = Callable[[str], None]
Ask = Callable[[Question], bool]


@dataclass(frozen=True)
class HostRequest:
    """What is asked for.

    Attributes:
        device: Name of the device under test.
        peer: Name of the second one; empty for none.
        options: Options of the suite.
        tests: Node ids of the tests; empty for all.
        pytest_args: What the user wants passed on to pytest.
        quiet: Seconds without a word after which the suite counts as hung.
        results: The folder in which that of this run is made.
        consent: Options by which the user has consented.
    """

    device: str
    peer: str
    options: Sequence[str]
    tests: Sequence[str]
    pytest_args: Sequence[str]
    quiet: float
    results: Path
    consent: frozenset[str]

    @property
    def names(self) -> list[str]:
        """The device and its peer, if there is one."""
        return [name for name in (self.device, self.peer) if name]

    def job(self, *more: str) -> Job:
        """Return what the suite is to do, with more options."""
        return Job(
            self.device,
            self.peer,
            [*self.options, *more],
            self.tests,
            self.pytest_args,
            self.quiet,
            secrets.token_hex(8),
        )


def as_bound(request: HostRequest, out: TextIO, ask: Ask, host: HostPaths) -> int:
    """Judge a device with the driver it is bound to, and return the exit code.

    Raises:
        Refused: It must not be, or cannot be.
        ReportError: The results cannot be written.
    """
    consent(safety.as_bound(request.names, host), request, ask)
    driver = sysfs.driver(request.device, sysfs=host.sysfs) or "none"
    reporter, results = reported(request, driver, out)
    if _left_behind(host):
        reporter.note(
            "An earlier run was killed and has left this machine changed: "
            "`python3 -m conformance restore` puts it back."
        )
    reporter.version("driver", driver)
    job = request.job("--vfio-as-is")
    return reporter.finish(
        verdict_of(lambda: suite.run(job, results, reporter, host), results, SysfsError)
    )


def _left_behind(host: HostPaths) -> bool:
    """Return whether a run was killed and not undone, as far as this user may know."""
    try:
        if not Journal(host).path.exists():
            return False
        with the_journal(host):  # else a run is going on, on other functions
            return True
    except (OSError, Refused):
        return False


def restore(journal: Journal, host: HostPaths, say: Say) -> bool:
    """Put back what an earlier run has left, and say so.

    Returns:
        Whether there was anything.

    Raises:
        RestoreError: Something could not be put back.
    """
    record = journal.read()
    if record is None:
        return False
    say(f"An earlier run (process {record.pid}) was killed and has left this machine changed.")
    done = undo(journal, host, say)
    if done:
        say("All its changes are undone.")
    return done


def consent(look: Look, request: HostRequest, ask: Ask) -> None:
    """Return only if nothing is refused and the user consents to the rest.

    Raises:
        Refused: Else.
    """
    if look.refused:
        raise Refused(look.refused)
    wanted = [question for question in look.questions if question.option not in request.consent]
    refused = [one for one in wanted if not ask(one)]
    if refused:
        raise Refused(
            [
                Reason(
                    one.what, f"Consent with {one.option} ({one.option[2:].upper()}=1 for make)."
                )
                for one in refused
            ]
        )


def reported(request: HostRequest, name: str, out: TextIO) -> tuple[Reporter, Path]:
    """Return a reporter, and the folder of results that was made for it.

    Raises:
        ReportError: It cannot be written.
        OSError: It cannot be made.
    """
    results = paths.new_results(request.results, name, platform.release()).absolute()
    versions = {"kit": __version__, "kernel": platform.release(), "machine": platform.node()}
    return Reporter(results, out, requirements=requirements.load(), versions=versions), results
