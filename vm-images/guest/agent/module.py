# SPDX-License-Identifier: GPL-2.0-only
"""Loads and removes the module under test, by name, through python-kmod."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.errors import Failure
from agent.job import ROOT


def load(name: str, parameters: Sequence[str] = (), bus: str = "pci") -> str:
    """Load a module and what it depends on, and return the driver it registers on a bus.

    Raises:
        Failure: The kernel does not take it, or it registers no driver.
    """
    kmod = _kmod()
    place = Path("/lib/modules", os.uname().release)  # where the suite's own tools look
    if not place.is_symlink():
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(_tree())
    try:
        options = os.fsencode(" ".join(parameters)) or None
        kmod.Kmod(os.fsencode(_tree())).modprobe(name, extra_options=options)
    except kmod.error.KmodError as error:
        # The reason is only in the kernel log: python-kmod loses the error number.
        raise Failure(f"the kernel does not take the module {name}: {error}") from error
    drivers = sorted(path.name for path in Path("/sys/module", name, "drivers").glob(f"{bus}:*"))
    if not drivers:
        raise Failure(f"the module {name} was loaded but registers no driver on the bus {bus}")
    return drivers[0].partition(":")[2]


def replace(name: str, trial: str) -> None:
    """Put another build of a module, one of the payload's trials, in the place of the last."""
    (ROOT / "trials" / f"{trial}.ko").replace(_tree() / "updates" / f"{name}.ko")


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


def _tree() -> Path:
    return ROOT / "modules/lib/modules" / os.uname().release


def _kmod() -> Any:
    """Return python-kmod, which is built into the image."""
    importlib.import_module("kmod.error")
    return importlib.import_module("kmod")
