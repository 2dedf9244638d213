# SPDX-License-Identifier: GPL-2.0-only
"""Which of the kernel interfaces that came and went a build tree has.

Distributions take changes back into older kernels, so the version says little. A probe is compiled
with the tree's own kbuild: the members of structs are read from its debug information, what the
kernel exports from Module.symvers, and a function that is only in a header is tried by using it.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from kpatch.errors import KernelTreeError
from kpatch.kernel import elf, kept
from kpatch.kernel.tree import KernelTree
from kpatch.tools import programs

_PROBE = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>

/* Used, so that the compiler describes them. */
struct vfio_device_ops kpatch_probe_ops;
struct pci_driver kpatch_probe_driver;
struct vfio_pci_core_device kpatch_probe_core;
struct vfio_migration_ops kpatch_probe_migration;

MODULE_IMPORT_NS("KPATCH_PROBE");
"""

_VM_FLAGS_SET = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>

void kpatch_probe_vm_flags_set(struct vm_area_struct *vma);
void kpatch_probe_vm_flags_set(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_IO);
}
"""

_GET_IOMAP = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/vfio_pci_core.h>

void __iomem *kpatch_probe_get_iomap(struct vfio_pci_core_device *core);
void __iomem *kpatch_probe_get_iomap(struct vfio_pci_core_device *core)
{
	return vfio_pci_core_get_iomap(core, 0);
}
"""

_PRECOPY = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/vfio.h>

const unsigned int kpatch_probe_precopy = VFIO_MIGRATION_PRE_COPY;
"""

_KBUILD = """\
# SPDX-License-Identifier: GPL-2.0-only
obj-m := probe.o vm_flags_set.o get_iomap.o precopy.o
ccflags-y := -g
"""

_TARGETS = ("probe.o", "vm_flags_set.o", "get_iomap.o", "precopy.o")
_SOURCES = {
    "probe.c": _PROBE,
    "vm_flags_set.c": _VM_FLAGS_SET,
    "get_iomap.c": _GET_IOMAP,
    "precopy.c": _PRECOPY,
    "Kbuild": _KBUILD,
}


@dataclass(frozen=True)
class Features:
    """What a kernel has of the interfaces that differ between kernels.

    Attributes:
        iommufd_ops: `vfio_device_ops` has bind_iommufd, unbind_iommufd and attach_ioas.
        detach_ioas: `vfio_device_ops` has detach_ioas; without it no registration.
        match_token_uuid: `vfio_device_ops` has match_token_uuid; if it is NULL, open oopses.
        get_region_info_caps: `vfio_device_ops` has get_region_info_caps, which answers
            VFIO_DEVICE_GET_REGION_INFO in place of ioctl; if it is NULL, that is -EINVAL.
        setup_barmap: vfio_pci_core_setup_barmap() is exported.
        get_iomap: There is vfio_pci_core_get_iomap(), its successor, which is in a header.
        vma_list: `vfio_pci_core_device` has a list of its mappings, whose vm_pgoff is then the
            page frame and no offset of the device file.
        vm_flags_set: There is vm_flags_set(), and vm_flags cannot be assigned.
        import_ns_string: MODULE_IMPORT_NS() takes a string.
        driver_managed_dma: `pci_driver` has driver_managed_dma.
        free_device_in_release: vfio_free_device() is exported, for a release of one's own.
        precopy: VFIO_DEVICE_FEATURE_MIGRATION has the states of pre-copy.
        precopy_info_v2: `vfio_device` has precopy_info_v2, set by the user's opt-in to flags.
        migration_data_size: `vfio_migration_ops` has migration_get_data_size, which the core
            then calls without a look.
        iova_bitmap: iova_bitmap_set() is exported. Without CONFIG_IOMMUFD_DRIVER, Linux 6.7 and
            later have empty stubs of it, and refuse each report of a log of DMA writes.
    """

    iommufd_ops: bool
    detach_ioas: bool
    match_token_uuid: bool
    get_region_info_caps: bool
    setup_barmap: bool
    get_iomap: bool
    vma_list: bool
    vm_flags_set: bool
    import_ns_string: bool
    driver_managed_dma: bool
    free_device_in_release: bool
    precopy: bool
    precopy_info_v2: bool
    migration_data_size: bool
    iova_bitmap: bool


def probe(tree: KernelTree, workdir: Path) -> Features:
    """Return which of the varying kernel interfaces a tree has.

    They are looked up in the tree, by a probe that is compiled in it.

    Args:
        tree: A build tree.
        workdir: Keeps the probe and its result for the next time.

    Raises:
        KernelTreeError: The tree cannot build modules, or has no VFIO for PCI.
    """
    tree.check()
    names = [field.name for field in fields(Features)]
    folder = workdir / "probe"
    if programs.dry():
        tree.make(folder, _TARGETS, options=["--keep-going"])
        return Features(**dict.fromkeys(names, False))
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(f"{tree.identity} {names}".encode())
    for name, source in _SOURCES.items():
        digest.update(source.encode())
        target = folder / name
        if not target.exists() or target.read_text("utf-8") != source:
            target.write_text(source, "utf-8")
    key = digest.hexdigest()
    known = kept.load(folder / "features.json", key)
    if known is not None:
        return Features(**known)
    features = _compile(tree, folder)
    kept.save(folder / "features.json", key, asdict(features), tree, folder)
    return features


def _compile(tree: KernelTree, folder: Path) -> Features:
    wanted, vm_flags_set, get_iomap, precopy = objects = [folder / name for name in _TARGETS]
    for stale in objects:
        stale.unlink(missing_ok=True)
    log = folder / "probe.log"
    log.unlink(missing_ok=True)
    tree.make(folder, _TARGETS, options=["--keep-going"], log=log, check=False)
    if not wanted.exists():
        # Once more by itself, without what may fail.
        done = tree.make(folder, [wanted.name], log=log, check=False)
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise KernelTreeError(
            f"A probe of what the kernel of {tree.path}, {tree.release}, offers to VFIO drivers "
            f"does not compile:\n\n{tail}\n\nThe whole output is in {log}. "
            "Are compiler and headers those that the kernel was built with?"
        )
    structs = ("vfio_device_ops", "pci_driver", "vfio_pci_core_device", "vfio_device")
    members = elf.struct_members(wanted, (*structs, "vfio_migration_ops"))
    ops = members["vfio_device_ops"]
    return Features(
        iommufd_ops="bind_iommufd" in ops,
        detach_ioas="detach_ioas" in ops,
        match_token_uuid="match_token_uuid" in ops,
        get_region_info_caps="get_region_info_caps" in ops,
        setup_barmap="vfio_pci_core_setup_barmap" in tree.symbols,
        get_iomap=get_iomap.exists(),
        vma_list="vma_list" in members["vfio_pci_core_device"],
        vm_flags_set=vm_flags_set.exists(),
        # The older macro makes a string of its argument, here of one with quotes.
        import_ns_string="KPATCH_PROBE" in elf.modinfo(wanted).get("import_ns", ()),
        driver_managed_dma="driver_managed_dma" in members["pci_driver"],
        free_device_in_release="vfio_free_device" in tree.symbols,
        precopy=precopy.exists(),
        precopy_info_v2="precopy_info_v2" in members["vfio_device"],
        migration_data_size="migration_get_data_size" in members["vfio_migration_ops"],
        iova_bitmap="iova_bitmap_set" in tree.symbols,
    )
