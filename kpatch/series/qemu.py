# SPDX-License-Identifier: GPL-2.0-only
"""The user's side of the saving layout as a patch series for QEMU's source.

QEMU maps all that it can of a device and keeps it mapped, so a driver with a saving layout refuses
to have its device saved. The series is the smallest change with which it does not. It is made like
that of a driver: the patches are `kpatch.series.edits` of a source tree, of any device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kpatch.errors import SourceTreeError
from kpatch.render.render import fill
from kpatch.series import edits
from kpatch.series.edits import Base, Edit
from kpatch.series.steps import wrap
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository

_HEADER = "linux-headers/linux/vfio.h"
_COMMON = "include/hw/vfio/vfio-common.h"
_HELPERS = "hw/vfio/helpers.c"
_MIGRATION = "hw/vfio/migration.c"
_PCI = "hw/vfio/pci.c"
_SINCE = "10.0, which has hw/vfio/helpers.c"
_MINUTE = 60

FILES = (_HEADER, _COMMON, _HELPERS, _MIGRATION, _PCI)
"""What the series changes."""


@dataclass(frozen=True)
class _Patch:
    name: str
    edits: tuple[Edit, ...]


def version(tree: Path) -> str:
    """Return the version that a source tree says it is, such as 10.0.13.

    Raises:
        SourceTreeError: It is not a source tree of QEMU.
    """
    try:
        found = (tree / "VERSION").read_text("utf-8", errors="replace").strip()
    except OSError:
        found = ""
    if not re.fullmatch(r"\d+(\.\d+)+", found) or not (tree / "hw/vfio").is_dir():
        raise SourceTreeError(
            f"{tree} is not a source tree of QEMU: it has no VERSION, or no hw/vfio. Name the "
            "folder of a checkout, or of a distribution's unpacked source package."
        )
    return found


def repository(tree: Path, folder: Path, who: Identity) -> Repository:
    """Return a scratch repository with the files of a tree that the series changes.

    Raises:
        SourceTreeError: The tree is not QEMU's, or lacks one.
    """
    files = {name: tree / name for name in FILES}
    base = _base(tree)
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise SourceTreeError(f"{tree} ({base.name}) has no {missing[0]}: it takes {_SINCE}.")
    return git.adopt(files, folder, who, f"{base.name}, the files that the series touches")


def commit(made: Repository, tree: Path, *, date: int, signoff: bool) -> list[str]:
    """Make the commits of the series in a scratch repository, and return their subjects.

    Args:
        made: What `repository` returned.
        tree: The tree that it is of.
        date: That of the first commit, in seconds; each further one is a minute later.
        signoff: Whether to add the Signed-off-by of the repository's identity.

    Raises:
        SourceTreeError: A place that is to be changed is not there.
    """
    subjects = []
    base = _base(tree)
    for number, patch in enumerate(_PATCHES):
        for edit in patch.edits:
            edits.insert(made.path, edit, _text(edit.template), base=base)
        message = wrap(_text(f"series/qemu/messages/{patch.name}.j2"))
        made.commit(message, date + number * _MINUTE, signoff=signoff)
        subjects.append(message.partition("\n")[0])
    return subjects


def _base(tree: Path) -> Base:
    return Base(f"QEMU {version(tree)}", _SINCE)


def _text(template: str) -> str:
    return fill({"": template}, {"v1": False, "v2": True})[""]


_PATCHES = (
    _Patch(
        "uapi",
        (edits.saving_capability(_HEADER),),
    ),
    _Patch(
        "migration",
        (
            Edit(
                _COMMON,
                "series/qemu/member.h.j2",
                after=r"^    uint8_t nr; /\* cache the region number for debug \*/\n",
                what="the last member of VFIORegion",
            ),
            Edit(
                _COMMON,
                "series/qemu/op.h.j2",
                after=r"^    int \(\*vfio_load_config\)\(VFIODevice \*vdev, QEMUFile \*f\);\n",
                what="the last member of VFIODeviceOps",
            ),
            Edit(
                _COMMON,
                "series/qemu/prototype.h.j2",
                after=r"^void vfio_region_unmap\(VFIORegion \*region\);\n",
                what="the prototype of vfio_region_unmap()",
            ),
            Edit(
                _HELPERS,
                "series/qemu/helpers-include.c.j2",
                after=r'^#include "hw/hw\.h"\n',
                what="the include of hw/hw.h",
            ),
            Edit(
                _HELPERS,
                "series/qemu/helpers-setup.c.j2",
                after=r"^    region->nr = index;\n",
                what="the place in vfio_region_setup()",
            ),
            Edit(
                _HELPERS,
                "series/qemu/helpers-function.c.j2",
                after=r"^void vfio_region_unmap\(VFIORegion \*region\)\n\{\n(?:[ \n].*\n|\n)*?\}\n",
                what="vfio_region_unmap()",
            ),
            Edit(
                _PCI,
                "series/qemu/pci-function.c.j2",
                after=r"^(?=static VFIODeviceOps vfio_pci_ops = \{$)",
                what="vfio_pci_ops",
            ),
            Edit(
                _PCI,
                "series/qemu/pci-op.c.j2",
                after=r"^    \.vfio_load_config = vfio_pci_load_config,\n",
                what="the last member of vfio_pci_ops",
            ),
            Edit(
                _MIGRATION,
                "series/qemu/migration-after.c.j2",
                after=r"^    migration->device_state = state;\n(?=    vfio_migration_send_event)",
                what="the place in vfio_migration_set_device_state()",
            ),
            Edit(
                _MIGRATION,
                "series/qemu/migration-function.c.j2",
                after=r"^(?=static void vfio_migration_set_device_state\()",
                what="vfio_migration_set_device_state()",
            ),
            Edit(
                _MIGRATION,
                "series/qemu/migration-before.c.j2",
                after=r"^    if \(new_state == migration->device_state\) \{\n"
                r"        return 0;\n    \}\n\n",
                what="the place in vfio_migration_set_state()",
            ),
        ),
    ),
)
