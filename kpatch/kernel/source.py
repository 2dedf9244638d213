# SPDX-License-Identifier: GPL-2.0-only
"""A kernel source tree: is it one, of which version, and which interfaces does it have.

It need not be configured or built, so what interfaces it has is read from its headers. As for a
build tree they are looked up and not concluded from the version.
"""

from __future__ import annotations

import re
from pathlib import Path

from kpatch.errors import SourceTreeError
from kpatch.kernel.features import Features

CORE_HEADER = "include/linux/vfio_pci_core.h"
CORE_SOURCE = "drivers/vfio/pci/vfio_pci_core.c"
DEVICE_HEADER = "include/linux/vfio.h"
UAPI_HEADER = "include/uapi/linux/vfio.h"


def version(tree: Path) -> str:
    """Return the version that a source tree says it is, such as 6.12.117 or 7.0.0-rc3.

    Raises:
        SourceTreeError: It is not a kernel source tree.
    """
    try:
        text = (tree / "Makefile").read_text("utf-8", errors="replace")
    except OSError as error:
        raise _not_a_kernel(tree, f"Makefile: {error.strerror}") from error
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(.*)$", text, re.M))
    if not found.get("VERSION", "").isdigit() or not (tree / "MAINTAINERS").is_file():
        raise _not_a_kernel(tree, "its Makefile has no VERSION, or MAINTAINERS is missing")
    numbers = [str(found.get(key, "0")) for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(numbers) + str(found.get("EXTRAVERSION", "")).strip()


def features(tree: Path) -> Features:
    """Return which of the varying interfaces a source tree has.

    Raises:
        SourceTreeError: It has no vfio-pci-core that a driver in the tree could build on.
    """
    ops = _struct(tree, DEVICE_HEADER, "vfio_device_ops")
    core = read(tree, CORE_HEADER)
    regions = "vfio_pci_core_register_dev_region" in core and "vma_list;" not in core
    if "void (*release)" not in ops.replace("\t", " ") or not regions:
        raise SourceTreeError(
            f"{tree} (Linux {version(tree)}) is too old: its vfio-pci-core does not let a driver "
            "add device regions as the in-tree driver does. Linux 6.10 or later is needed."
        )
    return Features(
        iommufd_ops="(*bind_iommufd)" in ops,
        detach_ioas="(*detach_ioas)" in ops,
        match_token_uuid="(*match_token_uuid)" in ops,
        get_region_info_caps="(*get_region_info_caps)" in ops,
        setup_barmap="vfio_pci_core_setup_barmap(" in core,
        get_iomap="vfio_pci_core_get_iomap(" in core,
        vma_list=False,
        vm_flags_set=True,
        import_ns_string=False,
        driver_managed_dma=True,
        free_device_in_release=False,
        precopy="VFIO_MIGRATION_PRE_COPY" in read(tree, UAPI_HEADER),
        precopy_info_v2="precopy_info_v2" in _struct(tree, DEVICE_HEADER, "vfio_device"),
        migration_data_size="(*migration_get_data_size)"
        in _struct(tree, DEVICE_HEADER, "vfio_migration_ops"),
        iova_bitmap=False,  # no driver of a series has a log; one that had would select it
    )


def has_pci_ops(tree: Path) -> bool:
    """Return whether a driver has operations for vfio-pci-core: struct vfio_pci_device_ops.

    Raises:
        SourceTreeError: The tree has no vfio-pci-core.
    """
    return "\nstruct vfio_pci_device_ops {" in read(tree, CORE_HEADER)


def read(tree: Path, name: str) -> str:
    """Return the text of a file of the tree.

    Raises:
        SourceTreeError: It does not have it.
    """
    try:
        return (tree / name).read_text("utf-8", errors="surrogateescape")
    except OSError as error:
        raise SourceTreeError(
            f"{tree} (Linux {version(tree)}) cannot take the series: {name}: {error.strerror}. "
            "Name a kernel source tree of 6.10 or later that is complete, with drivers/vfio/pci, "
            "include and Documentation."
        ) from error


def _struct(tree: Path, header: str, name: str) -> str:
    found = re.search(rf"^struct {name} \{{\n(.*?)^\}};", read(tree, header), re.M | re.S)
    if not found:
        raise SourceTreeError(
            f"{tree} (Linux {version(tree)}) has no struct {name} in {header}. "
            "Is it older than 5.16 or much newer than what this kit knows?"
        )
    return found[1]


def _not_a_kernel(tree: Path, why: str) -> SourceTreeError:
    return SourceTreeError(
        f"{tree} is not the top of a kernel source tree: {why}. Name a git checkout of Linux, or "
        "the unpacked source of a distribution's kernel (not its headers package)."
    )
