# SPDX-License-Identifier: GPL-2.0-only
"""File systems of the host; unit tests pass others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conformance.vfio.system.sysfs import SYSFS
from conformance.vfio.system.usage import PROC

STATE = Path("/run/vfio-migration-kit")
"""Folder of the journal. /run is emptied by a reboot, which undoes the changes as well."""


@dataclass(frozen=True)
class HostPaths:
    """Mount points of sysfs, procfs and devtmpfs, and the folder of the journal."""

    sysfs: Path = SYSFS
    proc: Path = PROC
    state: Path = STATE
    dev: Path = Path("/dev")

    @property
    def boot_id(self) -> str:
        """The kernel's identifier of this boot."""
        return (self.proc / "sys/kernel/random/boot_id").read_text().strip()
