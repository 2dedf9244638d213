# SPDX-License-Identifier: GPL-2.0-only
"""Runs the suite, or the benchmark, in a copy of this process, which has imported it already."""

import contextlib
import gc
import importlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from agent.errors import Failure
from agent.job import KIT, ROOT
from agent.kernel import say, sysrq
from agent.port import Port

_EVENTS = Path("/run/events")
_KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
_OUTPUT = Path("/run/output")
_LONGEST_OUTPUT = 200_000
_UNUSED = ("logging", "warnings", "unraisableexception", "threadexception")
"""Plugins of pytest that have nothing to say here, and take their time in each phase of a test."""
_SUITE = "conformance/suite"
_PLAN = ROOT / "plan.json"
_INTERNAL_ERROR = 3
"""pytest's own status for it."""


class _Go(BaseException):
    """Leaves, in a copy of this process, all that the agent does: the suite is to run."""

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__()
        self.arguments = arguments


_collected: list[str] = []
"""What this process has collected beforehand: nothing, or the suite."""


def hold(attend: Callable[[], NoReturn]) -> None:
    """Collect the suite, then attend to the host; returns if the suite cannot be collected."""

    def wait() -> Sequence[str]:
        _collected.append(_SUITE)
        gc.collect()
        gc.freeze()  # copies of this process leave it alone
        sys.stdout.flush()
        _restore(kept)
        try:
            attend()
        except _Go as go:
            return go.arguments

    kept = [os.dup(1), os.dup(2)]
    _redirect()
    os.chdir(KIT)
    arguments = ["-p", "conformance.plugin", "-p", "no:cacheprovider", _SUITE, *_terse()]
    status = _INTERNAL_ERROR
    try:
        status = importlib.import_module("conformance.plugin.held").hold(arguments, wait)
    except BaseException:
        traceback.print_exc()
    if os.getpid() != 1:
        _exit(status)
    _restore(kept)


def _restore(kept: Sequence[int]) -> None:
    for fd, copy in enumerate(kept, 1):
        os.dup2(copy, fd)


def _terse() -> list[str]:
    """Return the arguments without which pytest does more than is needed here."""
    return [
        "--vfio-terse",
        "--capture=no",
        *(word for name in _UNUSED for word in ("-p", f"no:{name}")),
    ]


def command(job: Mapping[str, Any], functions: Sequence[str]) -> list[str]:
    """Return the arguments with which pytest runs the suite."""
    words = ["-p", "conformance.plugin", "-p", "no:cacheprovider", *job["tests"]]
    words += ["--vfio-device", functions[0]] if functions else []
    words += ["--vfio-peer", functions[1]] if len(functions) > 1 else []
    if not _KMEMLEAK.exists():  # what a debug kernel reports must be of one test
        for pair in zip(functions[2::2], functions[3::2], strict=False):
            words += ["--vfio-pair", ",".join(pair)]
    return words + list(job["hints"]) + list(job["pytest_args"])


def run(port: Port, job: Mapping[str, Any], functions: Sequence[str], share: str = "") -> int:
    """Run the suite, or a share of it, pass its events on, and return pytest's status.

    Raises:
        Failure: It was killed.
    """
    arguments = [*command(job, functions), "--vfio-events", str(_EVENTS), *_terse()]
    arguments += ["--vfio-share", share] if share else []
    arguments += ["--vfio-plan", str(_PLAN)] if _PLAN.exists() else []
    return _run(port, job["quiet"], "pytest", arguments)


def measure(port: Port, job: Mapping[str, Any], tested: str, plain: str, interface: str) -> int:
    """Measure one function against another, pass the events on, and return the status.

    Frames reach them from a network interface, if there is one.

    Raises:
        Failure: It was killed.
    """
    arguments = ["--device", tested, "--plain", plain, "--events", str(_EVENTS)]
    arguments += ["--packets", interface] if interface else []
    return _run(port, job["quiet"], "conformance.bench.measure.__main__", arguments)


def _run(port: Port, quiet: float, module: str, arguments: list[str]) -> int:
    """Call the `main` of a module in a child, as `run` does."""
    _EVENTS.unlink(missing_ok=True)  # of the run before
    os.mkfifo(_EVENTS)
    events = os.open(_EVENTS, os.O_RDWR | os.O_NONBLOCK)
    child = os.fork()
    if child == 0 and _collected and module == "pytest":
        os.setpgid(0, 0)
        _redirect()
        raise _Go(arguments)
    if child == 0:
        _be(module, arguments)
    _relay(port, events, child, quiet)
    os.close(events)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        port.output(_OUTPUT.read_text(errors="replace")[-_LONGEST_OUTPUT:])
    if status < 0:
        raise Failure(f"the suite was killed by signal {-status} ({signal.strsignal(-status)})")
    return status


def _be(module: str, arguments: list[str]) -> NoReturn:
    status = _INTERNAL_ERROR
    try:
        os.setpgid(0, 0)
        _redirect()
        os.chdir(KIT)
        sys.argv = [module, *arguments]
        status = int(importlib.import_module(module).main(arguments))
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(status)


def _exit(status: int) -> NoReturn:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _redirect() -> None:
    """Have this process read nothing, and write to a file."""
    output = os.open(_OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def _relay(port: Port, events: int, child: int, quiet: float) -> None:
    """Copy events to the host until the child ends; show where it hangs if it is quiet."""
    ended = os.pidfd_open(child)
    shown = False
    while True:
        ready = select.select([events, ended], [], [], quiet)[0]
        if events in ready:
            shown = False
            port.write(os.read(events, 65536))
        elif ended in ready:
            os.close(ended)
            return
        elif not shown:
            shown = True
            _show_stacks(child)


def _show_stacks(group: int) -> None:
    """Write to the console where the kernel is in the processes of the suite."""
    say("no event came from the suite for a while; its kernel stacks:")
    for stack in Path("/proc").glob("[0-9]*/task/*/stack"):
        with contextlib.suppress(OSError):
            of = stack.with_name("stat").read_text().rpartition(")")[2].split()[2]
            lines = stack.read_text().split("\n")
            if of == str(group):
                name = stack.with_name("comm").read_text().strip()
                say(f"{stack.parent.name} {name}: {' '.join(lines)}")
    with contextlib.suppress(OSError):
        sysrq("w")  # all tasks that are blocked
