# SPDX-License-Identifier: GPL-2.0-only
"""Loads and removes the module under test, by name, through python-kmod."""

import importlib
import os
from pathlib import Path
from typing import Any

from agent.errors import Failure
from agent.job import ROOT


def load(name: str) -> str:
    """Load a module and what it depends on, and return the PCI driver it registers.

    Raises:
        Failure: The kernel does not take it, or it registers no driver.
    """
    kmod = _kmod()
    release = os.uname().release
    tree = ROOT / "modules/lib/modules" / release
    Path("/lib/modules").mkdir(exist_ok=True)
    Path("/lib/modules", release).symlink_to(tree)  # where the suite's own tools look
    try:
        kmod.Kmod(os.fsencode(tree)).modprobe(name)
    except kmod.error.KmodError as error:
        # Why, only the kernel's log tells: python-kmod loses the error number.
        raise Failure(f"the kernel does not take the module {name}: {error}") from error
    drivers = sorted(path.name for path in Path("/sys/module", name, "drivers").glob("pci:*"))
    if not drivers:
        raise Failure(f"the module {name} was loaded but registers no PCI driver")
    return drivers[0].removeprefix("pci:")


def unload(name: str) -> None:
    """Remove a module.

    Raises:
        Failure: The kernel does not let it go.
    """
    kmod = _kmod()
    try:
        kmod.Kmod().rmmod(name)
    except kmod.error.KmodError as error:
        users = Path("/sys/module", name, "refcnt").read_text().strip()
        raise Failure(f"the module {name} cannot be unloaded ({error}), users: {users}") from error


def _kmod() -> Any:
    """Return python-kmod, which is built into the image."""
    importlib.import_module("kmod.error")
    return importlib.import_module("kmod")
