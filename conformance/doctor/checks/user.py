# SPDX-License-Identifier: GPL-2.0-only
"""Whether the user who asks may use a function."""

from collections.abc import Iterator

from conformance.doctor.checks.finding import Finding, blocks, fine
from conformance.doctor.facts.facts import Facts

PINNED = 64 << 20
"""Bytes: less than any guest has. All memory of a guest with a function is pinned."""


def files(facts: Facts) -> Iterator[Finding]:
    """Whether VFIO's files are there, and the user may open them."""
    function = facts.function
    if not function or not function.vfio or function.group is None:
        return
    if function.group_name == "vfio-noiommu":
        return
    for wanted in ("/dev/vfio/vfio", f"/dev/vfio/{function.group}"):
        if wanted not in function.files:
            yield blocks(
                f"There is no {wanted}.",
                "Devices are opened through it.",
                "In a container, pass it in (--device); else see whether devtmpfs is mounted on "
                "/dev.",
            )
        elif wanted in function.locked:
            yield blocks(
                f"This user ({facts.user.uid}) may not open {wanted}.",
                "Devices are opened through it.",
                f"As root: chown {facts.user.uid} {wanted}; a rule of udev keeps it so.",
            )
    if len(function.files) >= 2 and not function.locked:
        yield fine("This user may open the files of VFIO.")


def memlock(facts: Facts) -> Iterator[Finding]:
    """Whether the user may pin memory."""
    user = facts.user
    if user.may_lock or user.memlock is None:
        yield fine("This user may pin as much memory as there is.")
    elif user.memlock < PINNED:
        yield blocks(
            f"This user may pin {user.memlock >> 10} KiB of memory (RLIMIT_MEMLOCK).",
            "All memory of a guest with a function is pinned; VFIO_IOMMU_MAP_DMA fails with "
            "ENOMEM.",
            "Raise it to more than the guest's memory: `ulimit -l`, /etc/security/limits.conf "
            "(memlock), or LimitMEMLOCK= of the service.",
        )
    else:
        yield fine(f"This user may pin {user.memlock >> 20} MiB of memory.")
