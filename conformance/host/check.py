# SPDX-License-Identifier: GPL-2.0-only
"""A driver built for this machine, bound, judged, and everything put back as it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from conformance.errors import ConformanceError, DriverError
from conformance.host import bind, build, fitness, modules, safety, suite
from conformance.host.errors import Reason, Refused
from conformance.host.journal import Journal, SuiteMark, the_journal
from conformance.host.judge import Ask, HostRequest, consent, reported, restore
from conformance.host.paths import HostPaths
from conformance.host.undo import undo
from conformance.kernel import trouble
from conformance.kernel.log import KernelLog, Taint, reports
from conformance.report import Conclusion, Reporter, Verdict
from conformance.running.follow import verdict_of
from conformance.running.steps import Steps
from conformance.vfio.errors import SysfsError
from kpatch.device import load as descriptions
from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.kernel import tree as kernel
from kpatch.module import info as files
from kpatch.module.info import ModuleInfo


class Driver:
    """The driver under test: rendered from a description, or somebody's module.

    Args:
        wanted: Name or path of a description; without it, that which is for the function.
        module: A module to use instead.
        tree: The build tree of the running kernel, if it is not where it belongs.
        host: Where the files of this machine are.
        protocol: The version of the migration protocol that is rendered; None for what the
            description says.
    """

    def __init__(
        self,
        wanted: str | None,
        module: Path | None,
        tree: Path | None,
        host: HostPaths,
        protocol: Protocol | None = None,
    ) -> None:
        self._wanted = wanted
        self._module = module
        self._tree = tree
        self._host = host
        self._protocol = protocol
        self._protocols: tuple[Protocol, ...] = ()
        self._device: Device | None = None
        self.name = module.name.partition(".")[0] if module else ""

    def look(self, names: Sequence[str]) -> list[Reason]:
        """Say why it is not for some functions, as far as that is known before it is built.

        Raises:
            KpatchError: The description or the module cannot be read.
            UsageError: No description is for the function.
        """
        if self._module:
            files.read(self._module)
            return []
        self._device = build.description(self._wanted, names[0], self._host)
        self._protocols = descriptions.spoken(self._device, self._protocol)
        self.name = self._device.name
        return fitness.of_description(self._device, names, self._host)

    def prepare(self, names: Sequence[str], logs: Path, steps: Steps) -> ModuleInfo:
        """Build the module and look at it. Changes nothing but the cache.

        Raises:
            KpatchError: It does not build, or there are no headers to build it with.
            Refused: The kernel would not take it, or it is not for the functions.
        """
        path = self._module
        tree = None
        if self._device:
            tree = kernel.find(None, self._tree)
            steps.say(f"Building the driver of {self._device.name} for Linux {tree.release}.")
            path = build.build(self._device, tree, logs, steps, self._protocols)
        elif self._tree or Path("/lib/modules", os.uname().release, "build").is_dir():
            tree = kernel.find(None, self._tree)  # knows more of a module than the module itself
        assert path
        info = files.read(path)
        with steps.step("inspect"):
            reasons, warnings = fitness.of_module(info, tree, names, os.uname().release, self._host)
        for warning in warnings:
            steps.say(warning)
        if reasons:
            raise Refused(reasons)
        return info


def check(request: HostRequest, driver: Driver, out: TextIO, ask: Ask, host: HostPaths) -> int:
    """Bind a driver, judge it, put everything back, and return the exit code.

    Args:
        request: What is asked for.
        driver: The driver under test.
        out: Where progress and summary go.
        ask: Asks the user for consent.
        host: Where the files of this machine are.

    Raises:
        Refused: It must not be, or cannot be; nothing was changed.
        ReportError: The results cannot be written.
        RestoreError: What an earlier run has left cannot be put back.
        KpatchError: There is no such description or module.
    """

    def say(line: str) -> None:
        out.write(f"{line}\n")
        out.flush()

    with the_journal(host) as journal:
        restore(journal, host, say)
        allowed(request, driver, ask, host)
        reporter, results = reported(request, driver.name, out)
        steps = Steps(reporter.note)
        undone: Verdict | None = None
        try:
            verdict = verdict_of(
                lambda: _judge(
                    request,
                    driver,
                    journal=journal,
                    results=results,
                    reporter=reporter,
                    steps=steps,
                    host=host,
                ),
                results,
                SysfsError,
            )
        finally:
            undone = _put_back(journal, reporter, host)
        for name, seconds in steps.times.items():
            reporter.timing(name, seconds)
        return reporter.finish(_worse(verdict, undone))


def allowed(request: HostRequest, driver: Driver, ask: Ask, host: HostPaths) -> None:
    """Go on only if the functions may be taken for the driver.

    Raises:
        Refused: They may not.
    """
    look = safety.to_bind(request.names, host, uid=os.getuid())
    if not look.refused:
        look.refused += driver.look(request.names)
    consent(look, request, ask)


def _judge(
    request: HostRequest,
    driver: Driver,
    *,
    journal: Journal,
    results: Path,
    reporter: Reporter,
    steps: Steps,
    host: HostPaths,
) -> Verdict:
    info = driver.prepare(request.names, results, steps)
    for key, value in (("module", info.name), ("module-file", str(info.path))):
        reporter.version(key, value)
    journal.begin()
    with _silent_kernel("was loaded and bound"):
        again = fitness.is_loaded(info, host)
        needs = [*info.depends, modules.TYPE1]
        name = bind.load(info.path, info.name, needs, journal, host, again=again)
        bind.bind(request.names, name, journal, host)
    job = request.job()
    journal.note(SuiteMark(job.mark))
    with steps.step("tests"):
        return suite.run(job, results, reporter, host)


def _put_back(journal: Journal, reporter: Reporter, host: HostPaths) -> Verdict | None:
    """Undo everything; return what there is to say about it, None if all went well."""
    try:
        with _silent_kernel("was unbound and removed"):
            if undo(journal, host, reporter.note):
                reporter.note("This machine is as it was before.")
    except DriverError as error:
        return Verdict(Conclusion.REQUIREMENT_FAILED, str(error))
    except (ConformanceError, OSError) as error:
        return Verdict.lab_failed(str(error))
    return None


def _worse(verdict: Verdict, undone: Verdict | None) -> Verdict:
    """Return the verdict that must not be overlooked."""
    if undone is None or verdict.conclusion is Conclusion.KERNEL_DIED:
        return verdict
    if undone.conclusion is Conclusion.LAB_FAILED or verdict.conclusion is Conclusion.CONFORMS:
        return undone
    return verdict


@contextlib.contextmanager
def _silent_kernel(when: str) -> Iterator[None]:
    """Fail if the kernel finds a fault within the block: by its log, else by its taint."""
    with contextlib.closing(Taint()) as flags, KernelLog() as log:
        before = flags.read()
        yield
        found = reports(log.read())[:1] + trouble.fault_words(flags.read() & ~before)
        if found:
            raise DriverError(
                f"The kernel reported a fault while the driver {when}: {'; '.join(found)}."
            )
