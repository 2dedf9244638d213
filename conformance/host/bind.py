# SPDX-License-Identifier: GPL-2.0-only
"""Loads the module under test and binds the functions to its driver, each step noted before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conformance.errors import DriverError
from conformance.host import modules
from conformance.host.journal import FunctionBefore, Journal, ModulesBefore
from conformance.host.paths import HostPaths
from conformance.kernel.log import KernelLog
from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs
from kpatch.errors import ProgramFailed

_LINES = 30


def load(
    path: Path, name: str, needs: Sequence[str], journal: Journal, host: HostPaths, *, again: bool
) -> str:
    """Load the module under test and what it depends on.

    Args:
        path: Its file.
        name: Its name.
        needs: Modules of the kernel that must be there.
        journal: Where it is noted.
        host: Where the files of this machine are.
        again: Whether it is loaded already, and stays.

    Returns:
        The PCI driver it has registered.

    Raises:
        DriverError: The kernel does not take it, or it registers no driver.
        ProgramFailed: What it depends on cannot be loaded.
    """
    new = modules.coming(needs, host)
    journal.note(ModulesBefore([*new, *([] if again else [name])]))
    modules.load(new)
    if not again:
        with KernelLog() as log:
            try:
                modules.insert(path)
            except ProgramFailed as error:
                raise DriverError(
                    f"The kernel does not take {path}. {error}", _said(log)
                ) from error
    drivers = modules.drivers(name, host)
    if not drivers:
        raise DriverError(f"The module {name} was loaded but registers no PCI driver.")
    return drivers[0]


def bind(names: Sequence[str], driver: str, journal: Journal, host: HostPaths) -> None:
    """Bind functions to a driver.

    Raises:
        DriverError: It does not take one.
        OSError: The kernel does not let a function be unbound.
    """
    for name in names:
        was = FunctionBefore(
            name,
            sysfs.driver(name, sysfs=host.sysfs),
            sysfs.driver_override(name, sysfs=host.sysfs),
        )
        journal.note(was)
        with KernelLog() as log:
            try:
                sysfs.bind(name, driver, sysfs=host.sysfs)
            except SysfsError as error:
                raise DriverError(str(error), _said(log)) from error
        if not sysfs.offers_vfio(name, sysfs=host.sysfs):
            raise DriverError(f"{driver} has taken {name} but does not offer it through VFIO.")


def _said(log: KernelLog) -> list[str]:
    return [record.text for record in log.read()][-_LINES:]
