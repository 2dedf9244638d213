# SPDX-License-Identifier: GPL-2.0-only
"""What the kit uses of ``linux/iommufd.h``, under the kernel's names. Linux 6.2 has it first.

Each struct begins with its size, and what the kernel does not know of a longer one must be zero.
"""

import ctypes
from ctypes import c_uint32, c_uint64
from typing import Final

_TYPE: Final = ord(";")

# on /dev/iommu
IOMMU_DESTROY: Final = _TYPE << 8 | 0x80
IOMMU_IOAS_ALLOC: Final = _TYPE << 8 | 0x81
IOMMU_IOAS_MAP: Final = _TYPE << 8 | 0x85
IOMMU_IOAS_UNMAP: Final = _TYPE << 8 | 0x86

# enum iommufd_ioas_map_flags
IOMMU_IOAS_MAP_FIXED_IOVA: Final = 1 << 0
IOMMU_IOAS_MAP_WRITEABLE: Final = 1 << 1
IOMMU_IOAS_MAP_READABLE: Final = 1 << 2


class iommu_destroy(ctypes.Structure):
    """Argument of IOMMU_DESTROY."""

    _fields_ = [("size", c_uint32), ("id", c_uint32)]


class iommu_ioas_alloc(ctypes.Structure):
    """Argument of IOMMU_IOAS_ALLOC; the kernel fills in the id of the new address space."""

    _fields_ = [("size", c_uint32), ("flags", c_uint32), ("out_ioas_id", c_uint32)]


class iommu_ioas_map(ctypes.Structure):
    """Argument of IOMMU_IOAS_MAP, addresses and length in bytes."""

    _fields_ = [
        ("size", c_uint32),
        ("flags", c_uint32),
        ("ioas_id", c_uint32),
        ("__reserved", c_uint32),
        ("user_va", c_uint64),
        ("length", c_uint64),
        ("iova", c_uint64),
    ]


class iommu_ioas_unmap(ctypes.Structure):
    """Argument of IOMMU_IOAS_UNMAP; the kernel writes back how much it unmapped."""

    _fields_ = [
        ("size", c_uint32),
        ("ioas_id", c_uint32),
        ("iova", c_uint64),
        ("length", c_uint64),
    ]
