# SPDX-License-Identifier: GPL-2.0-only
"""A kernel build tree with nothing in it but what is read from it."""

from __future__ import annotations

from pathlib import Path

RELEASE = "6.12.9-test"
CONFIG = """\
CONFIG_X86_64=y
CONFIG_SMP=y
CONFIG_PREEMPT_BUILD=y
CONFIG_MODULE_UNLOAD=y
CONFIG_MODVERSIONS=y
CONFIG_VFIO_PCI_CORE=m
CONFIG_LOCALVERSION="-test"
# CONFIG_IOMMUFD is not set
"""
SYMBOLS = """\
0x11111111\tkfree\tvmlinux\tEXPORT_SYMBOL\t
0x22222222\tvfio_pci_core_register_dev_region\tdrivers/vfio/pci/vfio-pci-core\tEXPORT_SYMBOL_GPL\t
0x33333333\tvfio_pci_core_ioctl_feature\tdrivers/vfio/pci/vfio-pci-core\tEXPORT_SYMBOL_GPL\t
0x44444444\tspaced\tvmlinux\tEXPORT_SYMBOL_GPL\tSPACE
0x66666666\tclosed\tvmlinux\tEXPORT_SYMBOL_GPL\tmodule:kvm,kvm-intel
0x55555555\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t
0x00000000\t__fentry__\tvmlinux\tEXPORT_SYMBOL\t
"""
VERMAGIC = f"{RELEASE} SMP preempt mod_unload modversions "


def make_tree(
    folder: Path, *, release: str = RELEASE, config: str = CONFIG, symbols: str = SYMBOLS
) -> Path:
    """Write a build tree and return it."""
    (folder / "include/config").mkdir(parents=True)
    (folder / "include/config/kernel.release").write_text("6.12.9\n")  # as Debian 12 has it
    (folder / "include/generated").mkdir()
    (folder / "include/generated/utsrelease.h").write_text(f'#define UTS_RELEASE "{release}"\n')
    (folder / "include/config/auto.conf").write_text(config)
    (folder / "Module.symvers").write_text(symbols)
    return folder


def make_root(root: Path, *releases: str, installed: str = "") -> Path:
    """Write the root of an image with a build tree for each release and return it.

    Like Debian's, /lib is a link, and the `build` links are absolute or relative.
    """
    (root / "usr/lib/modules").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    for number, release in enumerate(releases):
        make_tree(root / f"usr/src/headers-{release}", release=release)
        modules = root / "usr/lib/modules" / release
        modules.mkdir()
        start = "/usr/src" if number % 2 else "../../../src"
        (modules / "build").symlink_to(f"{start}/headers-{release}")
        if installed:
            (modules / "modules.dep").write_text(installed)
    return root
