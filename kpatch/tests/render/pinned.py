# SPDX-License-Identifier: GPL-2.0-only
"""Kernels to render for, written down so that tests need none."""

from __future__ import annotations

from kpatch.kernel.features import Features

LINUX_6_12 = Features(
    iommufd_ops=True,
    detach_ioas=True,
    match_token_uuid=False,
    get_region_info_caps=False,
    setup_barmap=True,
    get_iomap=False,
    vma_list=False,
    vm_flags_set=True,
    import_ns_string=False,
    driver_managed_dma=True,
    free_device_in_release=False,
    precopy=True,
    precopy_info_v2=False,
    migration_data_size=True,
    iova_bitmap=True,
)
"""What Debian 13's kernel of the image debug has; the golden trees are for it."""
