# SPDX-License-Identifier: GPL-2.0-only
"""The commands for functions of this machine."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable

from conformance.host import judge
from conformance.host.errors import Reason, Refused
from conformance.host.journal import Journal, the_journal
from conformance.host.judge import HostRequest
from conformance.host.paths import HostPaths
from conformance.host.safety import PHYSICAL, UNBIND, Question
from conformance.running import selection
from conformance.vfio.system import sysfs

Say = Callable[[str], None]
"""Prints a line for the user."""


def check(arguments: Namespace, say: Say) -> int:
    """Bind a driver to functions of this machine, judge it, and undo all changes."""
    if os.getuid() != 0:
        what = "Only root can bind functions and load modules."
        raise Refused([Reason(what, "Run it with sudo: `sudo make check BDF=...`.")])
    # Both need packages.
    from conformance.host.check import Driver, allowed, check  # noqa: PLC0415

    host = HostPaths()
    request = _request(arguments, arguments.bdf)
    driver = Driver(
        arguments.described,
        arguments.module,
        arguments.kernel_tree,
        host,
        arguments.protocol,
    )
    if arguments.dry_run:
        allowed(request, driver, lambda _question: True, host)
        say(
            f"Nothing prevents the run. {driver.name} would be built for the running kernel, "
            f"loaded, bound to {' and '.join(request.names)}, judged, and all changes undone."
        )
        return 0
    return check(request, driver, sys.stdout, _asker(say), host)


def run(arguments: Namespace, say: Say) -> int:
    """Judge devices of this machine as they are bound."""
    request = _request(arguments, arguments.judged)
    return judge.as_bound(request, sys.stdout, _asker(say), HostPaths())


def restore(_arguments: Namespace, say: Say) -> int:
    """Undo what a killed run has left."""
    if os.getuid() != 0:
        raise Refused([Reason("Only root can undo what a run has changed.", "Use sudo.")])
    host = HostPaths()
    if not Journal(host).path.exists():
        say("Nothing to restore: no run was killed since this machine was booted.")
        return 0
    with the_journal(host) as journal:
        judge.restore(journal, host, say)
    return 0


def _request(arguments: Namespace, device: str) -> HostRequest:
    options = [f"--vfio-scratch={place}" for place in arguments.scratch]
    options += [f"--vfio-volatile={place}" for place in arguments.volatile]
    options += [f"--vfio-doorbell={place}" for place in arguments.doorbell]
    options += [f"--vfio-enable={place}" for place in arguments.enable]
    options += [f"--vfio-kick={place}" for place in arguments.kick]
    options += [f"--vfio-trigger={place}" for place in arguments.trigger]
    options += [f"--vfio-busy={place}" for place in arguments.busy]
    if arguments.packets:
        options += [f"--vfio-packets={arguments.packets}"]
    if arguments.protocol:
        options += [f"--vfio-protocol={arguments.protocol[1:]}"]
    if arguments.walks is not None:
        options += [f"--vfio-walks={arguments.walks}"]
    consent = {UNBIND: arguments.unbind, PHYSICAL: arguments.physical}
    return HostRequest(
        device=_name(device),
        peer=_name(arguments.peer or ""),
        options=options,
        tests=tuple(selection.of_rules(arguments.rule)) if arguments.rule else (),
        pytest_args=(
            *(["-k", arguments.keyword] if arguments.keyword else []),
            *(["--exitfirst"] if arguments.exitfirst else []),
            *arguments.pytest_arguments,
        ),
        quiet=arguments.quiet,
        results=arguments.results,
        consent=frozenset(option for option, given in consent.items() if given),
    )


def _name(given: str) -> str:
    """Return a device's name as sysfs has it: hexadecimal digits of an address are small there."""
    return given.lower() if sysfs.is_pci(given.lower()) else given


def _asker(say: Say) -> Callable[[Question], bool]:
    """Return what asks the user, where there is one."""

    def ask(question: Question) -> bool:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return False
        say(question.what)
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")

    return ask
