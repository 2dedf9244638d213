# SPDX-License-Identifier: GPL-2.0-only
"""Restores this machine from its journal.

Undoing a step is idempotent and works for a step that was never taken, so it does not matter
where a run, or its undoing, was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from conformance.host import modules
from conformance.host.errors import RestoreError
from conformance.host.journal import FunctionBefore, Journal, ModulesBefore, Step, SuiteMark
from conformance.host.paths import HostPaths
from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs, usage
from kpatch.errors import KpatchError

MARK = "VFIO_KIT_RUN"
"""Environment variable that marks all processes of the suite."""

_PATIENCE = 10.0
"""Seconds for processes to end and release a device; a reset takes 0.1."""

Say = Callable[[str], None]


def undo(journal: Journal, host: HostPaths, say: Say) -> bool:
    """Undo the steps of the journal, the last one first.

    Signals that would end this process wait until it is done.

    Returns:
        Whether there was anything to put back.

    Raises:
        RestoreError: Something could not be put back; the journal stays.
        LabError: The journal cannot be read.
    """
    record = journal.read()
    if record is None:
        return False
    if record.boot_id != host.boot_id:
        say("The machine was rebooted since; that has undone everything.")
        journal.end()
        return False
    left: list[str] = []
    with undisturbed(say):
        for step in reversed(record.steps):
            if left and isinstance(step, ModulesBefore):
                continue  # what is still bound needs them
            try:
                left += _undo(step, host, say)
            except (OSError, SysfsError, KpatchError) as error:
                left.append(f"{_about(step)}: {error}")
        if left:
            raise RestoreError(left)
        journal.end()
    return True


@contextlib.contextmanager
def undisturbed(say: Say) -> Iterator[None]:
    """Within the block, only print a line on Ctrl-C and the like. For the main thread."""

    def patience(_number: int, _frame: FrameType | None) -> None:
        say("Restoring this machine; this takes a moment.")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, patience) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _undo(step: Step, host: HostPaths, say: Say) -> Sequence[str]:
    match step:
        case SuiteMark():
            return _end_suite(step.mark, host)
        case FunctionBefore():
            return _put_back(step, host, say)
        case ModulesBefore():
            stay = modules.remove(reversed(step.names), host)
            if stay:
                say(f"Others use {', '.join(stay)} by now, so that stays loaded.")
            return ()


def _about(step: Step) -> str:
    match step:
        case SuiteMark():
            return "the processes of the suite"
        case FunctionBefore():
            return f"{step.bdf}, which was bound to {step.driver or 'no driver'}"
        case ModulesBefore():
            return f"the modules {', '.join(step.names)}, which were not loaded"


def _end_suite(mark: str, host: HostPaths) -> list[str]:
    """Kill the remaining processes of a suite whose run was killed: they may hold the device."""
    deadline = time.monotonic() + _PATIENCE
    while alive := _marked(mark, host):
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            listed = ", ".join(map(str, alive))
            return [f"process {listed} of the suite does not end: it is stuck in the kernel"]
        time.sleep(0.05)
    return []


def _marked(mark: str, host: HostPaths) -> list[int]:
    """Return the processes that have the mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in host.proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _put_back(was: FunctionBefore, host: HostPaths, say: Say) -> list[str]:
    if not (host.sysfs / "bus/pci/devices" / was.bdf).exists():
        say(f"{was.bdf} is gone; nothing to restore.")
        return []
    now = sysfs.driver(was.bdf, sysfs=host.sysfs)
    if now != was.driver and (holding := _wait_for_holders(was.bdf, host)):
        # The kernel would have us wait until they close it, and nothing could stop that.
        return [f"{was.bdf} is still in use by {holding}, so it stays bound to {now}"]
    if now != was.driver:
        sysfs.unbind(was.bdf, sysfs=host.sysfs)
    if was.driver:
        # Reserved for that driver it is bound even where virtual functions are not probed.
        sysfs.bind(was.bdf, was.driver, sysfs=host.sysfs)
    if sysfs.driver_override(was.bdf, sysfs=host.sysfs) != was.override:
        sysfs.override(was.bdf, was.override or None, sysfs=host.sysfs)
    if was.driver and now != was.driver:
        say(f"{was.bdf} is bound to {was.driver} again.")
    return []


def _wait_for_holders(bdf: str, host: HostPaths) -> str:
    """Return who still holds a device after the timeout; empty if nobody."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            found = usage.holders(bdf, sysfs=host.sysfs, proc=host.proc)
        except SysfsError:  # no group, nobody can hold it
            return ""
        if not found:
            return ""
        if time.monotonic() > deadline:
            return ", ".join(f"{one.command} (process {one.pid})" for one in found)
        time.sleep(0.05)
