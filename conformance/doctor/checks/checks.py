# SPDX-License-Identifier: GPL-2.0-only
"""The table of checks: a cause before what it leads to.

A new check is a function from `Facts` to findings, and a line here. It says nothing where its
question makes no sense, for instance of a group where there is no IOMMU: what blocks shall be
causes, and no more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from conformance.doctor.checks import driver as check_driver
from conformance.doctor.checks import function as check_function
from conformance.doctor.checks import iommu as check_iommu
from conformance.doctor.checks import kernel as check_kernel
from conformance.doctor.checks import lab as check_lab
from conformance.doctor.checks import modules as check_modules
from conformance.doctor.checks import user as check_user
from conformance.doctor.checks.finding import Finding, Level, Scope
from conformance.doctor.facts.facts import Facts

Judge = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: What it is about, for programs; stays.
        scope: What it is about, for people.
        judge: From facts to findings.
    """

    name: str
    scope: Scope
    judge: Judge


CHECKS = (
    Check("kernel.modules-off", Scope.FUNCTION, check_kernel.loadable),
    Check("kernel.options", Scope.FUNCTION, check_kernel.options),
    Check("kernel.modules", Scope.FUNCTION, check_kernel.installed),
    Check("iommu.absent", Scope.FUNCTION, check_iommu.absent),
    Check("iommu.off", Scope.FUNCTION, check_iommu.off),
    Check("iommu.remapping", Scope.FUNCTION, check_iommu.remapping),
    Check("iommu.noiommu", Scope.FUNCTION, check_iommu.noiommu),
    Check("function.bridge", Scope.FUNCTION, check_function.bridge),
    Check("function.dead", Scope.FUNCTION, check_function.dead),
    Check("function.sriov", Scope.FUNCTION, check_function.sriov),
    Check("function.group", Scope.FUNCTION, check_function.grouped),
    Check("group.viable", Scope.FUNCTION, check_function.viable),
    Check("group.reserved", Scope.FUNCTION, check_function.reserved),
    Check("function.token", Scope.FUNCTION, check_function.token),
    Check("kernel.signatures", Scope.FUNCTION, check_kernel.signatures),
    Check("module.fit", Scope.FUNCTION, check_modules.fit),
    Check("module.elsewhere", Scope.FUNCTION, check_modules.elsewhere),
    Check("driver.bound", Scope.FUNCTION, check_driver.bound),
    Check("driver.override", Scope.FUNCTION, check_driver.override),
    Check("device.in-use", Scope.FUNCTION, check_function.in_use),
    Check("user.files", Scope.FUNCTION, check_user.files),
    Check("user.memlock", Scope.FUNCTION, check_user.memlock),
    Check("device.migration", Scope.FUNCTION, check_driver.migration),
    Check("device.reset", Scope.FUNCTION, check_function.reset),
    Check("monitor.protocol", Scope.FUNCTION, check_driver.monitor),
    Check("machine.functions", Scope.FUNCTION, check_function.candidates),
    Check("kernel.headers", Scope.FUNCTION, check_kernel.headers),
    Check("lab.machine", Scope.LAB, check_lab.machine),
    Check("lab.programs", Scope.LAB, check_lab.programs),
    Check("lab.namespaces", Scope.LAB, check_lab.namespaces),
    Check("lab.space", Scope.LAB, check_lab.space),
    Check("lab.images", Scope.LAB, check_lab.images),
    Check("lab.kvm", Scope.LAB, check_lab.kvm),
)
"""All checks. Where several findings block, the first is the cause to begin with."""


def judge(facts: Facts, scopes: frozenset[Scope]) -> list[tuple[Check, Finding]]:
    """Return what all checks of these scopes find, the worst first, else as in the table."""
    found = [
        (check, finding)
        for check in CHECKS
        if check.scope in scopes
        for finding in check.judge(facts)
    ]
    order = list(Level)
    return sorted(found, key=lambda pair: order.index(pair[1].level))
