# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the modules that are to drive a function, against the running kernel."""

from dataclasses import dataclass
from pathlib import Path

from conformance.doctor.facts import optional
from conformance.doctor.facts.function import SIGNATURE, Function, vermagic
from conformance.doctor.facts.host import Host


@dataclass(frozen=True)
class Module:
    """A module.

    Attributes:
        name: Its file.
        vermagic: What it was built for; empty if not known.
        signed: Whether it is signed; None if the file could not be unpacked.
        findings: What `kpatch` finds of it: level and words.
        left_out: Why that was not looked at; empty if it was.
    """

    name: str
    vermagic: str = ""
    signed: bool | None = False
    findings: optional.ModuleFindings = ()
    left_out: str = ""


def gather(host: Host, function: Function | None, named: Path | None) -> tuple[Module, ...]:
    """Return what is known of a named module and of those with an alias for the function.

    Raises:
        OSError: The named module cannot be read.
    """
    found = []
    if named:
        data = optional.unpacked(named)
        signed = None if data is None else data.endswith(SIGNATURE)
        found.append(_judged(str(named), vermagic(data or b""), signed, named))
    for match in function.variants if function else ():
        if match.path:
            found.append(_judged(match.path, match.vermagic, match.signed, host.path(match.path)))
    return tuple(found)


def _judged(name: str, magic: str, signed: bool | None, path: Path) -> Module:
    findings, why = optional.module_findings(path)
    return Module(name, magic, signed, findings, why)
