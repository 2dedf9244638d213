# SPDX-License-Identifier: GPL-2.0-only
"""All that is known, in one place: what checks judge."""

from dataclasses import dataclass, field
from pathlib import Path

from conformance.doctor.facts import function as functions
from conformance.doctor.facts import iommu, kernel, lab, modules, offer, user
from conformance.doctor.facts.function import Function
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.iommu import Iommu
from conformance.doctor.facts.kernel import Kernel
from conformance.doctor.facts.lab import Lab
from conformance.doctor.facts.modules import Module
from conformance.doctor.facts.offer import Opened
from conformance.doctor.facts.user import User


@dataclass(frozen=True)
class Facts:
    """What is known.

    Attributes:
        kernel: The running kernel.
        iommu: The machine's IOMMU.
        user: Who asks.
        lab: The machine as a host of the lab.
        function: The function that is asked about; None for the machine as a whole.
        modules: The modules that are to drive it, or were named.
        opened: What came of opening its device; None if it was not.
        candidates: Functions that somebody may want to migrate.
    """

    kernel: Kernel
    iommu: Iommu = field(default_factory=Iommu)
    user: User = field(default_factory=User)
    lab: Lab = field(default_factory=Lab)
    function: Function | None = None
    modules: tuple[Module, ...] = ()
    opened: Opened | None = None
    candidates: tuple[str, ...] = ()


def gather(
    host: Host, bdf: str = "", module: Path | None = None, *, open_it: bool = False
) -> Facts:
    """Read what is known.

    Args:
        host: The machine.
        bdf: The function that is asked about.
        module: A module that is asked about.
        open_it: Whether the function's device may be opened, which resets it.

    Raises:
        SysfsError: There is no such function.
    """
    running = kernel.gather(host)
    function: Function | None = functions.gather(host, bdf, running) if bdf else None
    opened = None
    if function and open_it and not offer.refused(function):
        opened = offer.look(function)
    return Facts(
        kernel=running,
        iommu=iommu.gather(host),
        user=user.gather(host),
        lab=lab.gather(host),
        function=function,
        modules=modules.gather(host, function, module),
        opened=opened,
        candidates=functions.candidates(host),
    )
