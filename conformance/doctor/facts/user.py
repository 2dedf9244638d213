# SPDX-License-Identifier: GPL-2.0-only
"""What the user may do who asks."""

import os
import resource
from dataclasses import dataclass

from conformance.doctor.facts.host import Host

_CAP_IPC_LOCK = 14  # linux/capability.h


@dataclass(frozen=True)
class User:
    """The user.

    Attributes:
        uid: 0 is root.
        memlock: Bytes of memory that may be pinned; None without a limit.
        may_lock: Whether that limit does not hold for the user (CAP_IPC_LOCK).
    """

    uid: int = 0
    memlock: int | None = None
    may_lock: bool = True


def gather(host: Host) -> User:
    """Read what this process may do."""
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    effective = 0
    for line in (host.text("/proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "CapEff":
            effective = int(value, 16)
    return User(
        uid=os.geteuid(),
        memlock=None if soft == resource.RLIM_INFINITY else soft,
        may_lock=bool(effective >> _CAP_IPC_LOCK & 1),
    )
