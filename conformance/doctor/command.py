# SPDX-License-Identifier: GPL-2.0-only
"""The command ``doctor``."""

from argparse import Namespace
from collections.abc import Callable

from conformance.doctor import report
from conformance.doctor.checks.checks import judge
from conformance.doctor.checks.finding import Level, Scope
from conformance.doctor.facts import facts as all_facts
from conformance.doctor.facts import function
from conformance.doctor.facts.host import Host
from conformance.errors import UsageError
from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs

_SCOPES = {
    "function": frozenset({Scope.FUNCTION}),
    "lab": frozenset({Scope.LAB}),
    "all": frozenset(Scope),
}


def run(arguments: Namespace, say: Callable[[str], None], host: Host | None = None) -> int:
    """Do what the command says.

    Returns:
        0 if nothing blocks, 1 if something does.

    Raises:
        UsageError: The function or the module does not exist.
    """
    host = host or Host()
    bdf = address(arguments.bdf) if arguments.bdf else ""
    if arguments.open_it and not bdf:
        raise UsageError("--open opens the device of a function; name it: doctor BDF --open.")
    try:
        facts = all_facts.gather(host, bdf, arguments.module, open_it=arguments.open_it)
    except SysfsError as error:
        if host.exists(f"/sys/bus/pci/devices/{bdf}"):
            raise UsageError(f"{bdf} cannot be read: {error}.") from error
        raise UsageError(_no_such(host, bdf)) from None
    except OSError as error:
        if arguments.module is None or error.filename != str(arguments.module):
            raise
        raise UsageError(f"{arguments.module} cannot be read: {error.strerror}.") from error
    found = judge(facts, _SCOPES[arguments.scope or ("function" if bdf else "all")])
    if arguments.json:
        say(report.as_json(facts, found))
    else:
        for line in report.lines(facts, found, verbose=arguments.verbose):
            say(line)
    return int(any(finding.level is Level.BLOCKS for _, finding in found))


def address(text: str) -> str:
    """Return an address in full, as sysfs has it.

    Raises:
        UsageError: It is none.

    >>> address("3B:02.0")
    '0000:3b:02.0'
    """
    found = sysfs.address(text)
    if found is None:
        raise UsageError(
            f"{text!r} is not a PCI address, such as 0000:3b:02.0. lspci -D lists them."
        )
    return found


def _no_such(host: Host, bdf: str) -> str:
    known = function.candidates(host)
    listed = f" Functions to ask about: {', '.join(known)}." if known else ""
    empty = [one for one in known if host.text(f"/sys/bus/pci/devices/{one}/sriov_numvfs") == "0"]
    made = f" {empty[0]} can make virtual functions and has none: ask about it." if empty else ""
    return f"There is no PCI function {bdf} (lspci -D lists all).{listed}{made}"
