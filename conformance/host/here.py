# SPDX-License-Identifier: GPL-2.0-only
"""Where this machine is looked at and changed; other places serve unit tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conformance.vfio.sysfs import SYSFS
from conformance.vfio.usage import PROC

STATE = Path("/run/vfio-migration-kit")
"""Where changes are noted. /run is emptied by a reboot, which undoes the changes as well."""


@dataclass(frozen=True)
class Here:
    """The file systems in which the kernel shows itself, and where changes are noted."""

    sysfs: Path = SYSFS
    proc: Path = PROC
    state: Path = STATE
    dev: Path = Path("/dev")

    @property
    def boot_id(self) -> str:
        """Tells this boot of the kernel from all others."""
        return (self.proc / "sys/kernel/random/boot_id").read_text().strip()
