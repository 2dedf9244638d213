# SPDX-License-Identifier: GPL-2.0-only
"""Runs QEMU inside the image's root; ends it in any case."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from conformance.errors import QemuError
from conformance.kernel import console
from conformance.lab.guest.guest import Guest
from conformance.lab.machine.argv import RunFiles
from conformance.lab.machine.monitor import Monitor
from kpatch.tools import programs

_LONGEST = 80
"""Longest path of a folder, in bytes, that leaves room for a socket name (sun_path)."""


@contextlib.contextmanager
def run_folder(logs: Path) -> Iterator[RunFiles]:
    """Make the folder of a run, and remove it with all that is in it.

    Args:
        logs: Where the logs go, which stay.
    """
    base = tempfile.gettempdir()
    if len(base) > _LONGEST:
        base = "/tmp"  # noqa: S108 - a socket's path must be short
    folder = Path(tempfile.mkdtemp(prefix="vfio-kit-", dir=base))
    try:
        yield RunFiles(folder, logs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(argv: Sequence[str], files: RunFiles) -> Iterator[Guest]:
    """Run QEMU and connect to it; it ends with the block.

    Args:
        argv: The whole command, sandbox included.
        files: The files of the run.

    Raises:
        QemuError: It did not start.
        ProgramMissing: A program is missing.
    """
    for path in (files.monitor, files.events, files.console):
        path.unlink(missing_ok=True)
    with programs.start(argv, log=files.qemu_log, grace=0.5) as process:
        try:
            monitor = Monitor(files.monitor, alive=lambda: process.poll() is None)
        except QemuError as error:
            said = "\n".join(f"  {line}" for line in _said(files))
            raise QemuError(f"{error} Its last output:\n{said}") from error
        with contextlib.ExitStack() as stack:
            stack.callback(monitor.close)
            guest = Guest(process, files, monitor)
            stack.callback(guest.close)
            yield guest
            monitor.quit()
            process.wait(5)


def _said(files: RunFiles) -> tuple[str, ...]:
    return console.tail(files.qemu_log.read_bytes()) if files.qemu_log.exists() else ()
