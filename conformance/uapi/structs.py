# SPDX-License-Identifier: GPL-2.0-only
"""Structs of ``linux/vfio.h`` under the kernel's names, with the natural layout.

No struct is packed: the kernel keeps every 64-bit field 8-byte aligned on all architectures
(``__aligned_u64``), which is what ctypes does on 64-bit hosts. Flexible array members have
length zero here; the code that reads them takes the rest of the buffer.
"""

import ctypes
from ctypes import c_int32, c_uint8, c_uint16, c_uint32, c_uint64


class vfio_info_cap_header(ctypes.Structure):
    """Head of each capability in the chain of an INFO ioctl; ``next`` counts from the buffer."""

    _fields_ = [("id", c_uint16), ("version", c_uint16), ("next", c_uint32)]


class vfio_group_status(ctypes.Structure):
    """Argument of VFIO_GROUP_GET_STATUS."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32)]


class vfio_device_info(ctypes.Structure):
    """Argument of VFIO_DEVICE_GET_INFO; ``num_regions`` is the highest index plus one."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("num_regions", c_uint32),
        ("num_irqs", c_uint32),
        ("cap_offset", c_uint32),
        ("pad", c_uint32),
    ]


class vfio_device_feature(ctypes.Structure):
    """Head of the argument of VFIO_DEVICE_FEATURE; the feature's own struct follows."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32)]


class vfio_device_feature_migration(ctypes.Structure):
    """What a device answers for VFIO_DEVICE_FEATURE_MIGRATION."""

    _fields_ = [("flags", c_uint64)]


class vfio_device_feature_mig_state(ctypes.Structure):
    """State of a device, and the data_fd that a SET returns; -1 for none."""

    _fields_ = [("device_state", c_uint32), ("data_fd", c_int32)]


class vfio_device_feature_mig_data_size(ctypes.Structure):
    """Estimate of what STOP_COPY will give, in bytes."""

    _fields_ = [("stop_copy_length", c_uint64)]


class vfio_precopy_info(ctypes.Structure):
    """Argument of VFIO_MIG_GET_PRECOPY_INFO; estimates in bytes."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("initial_bytes", c_uint64),
        ("dirty_bytes", c_uint64),
    ]


class vfio_region_dma_range(ctypes.Structure):
    """Bytes of a region of which a dma-buf is made."""

    _fields_ = [("offset", c_uint64), ("length", c_uint64)]


class vfio_device_feature_dma_buf(ctypes.Structure):
    """Of what a dma-buf is made; ``nr_ranges`` of the struct above follow."""

    _fields_ = [
        ("region_index", c_uint32),
        ("open_flags", c_uint32),
        ("flags", c_uint32),
        ("nr_ranges", c_uint32),
    ]


class vfio_device_feature_dma_logging_control(ctypes.Structure):
    """Which ranges to log; ``ranges`` is the address of ``num_ranges`` of the struct below."""

    _fields_ = [
        ("page_size", c_uint64),
        ("num_ranges", c_uint32),
        ("__reserved", c_uint32),
        ("ranges", c_uint64),
    ]


class vfio_device_feature_dma_logging_range(ctypes.Structure):
    """A range of IOVA, in bytes."""

    _fields_ = [("iova", c_uint64), ("length", c_uint64)]


class vfio_device_feature_dma_logging_report(ctypes.Structure):
    """What to report; ``bitmap`` is an address of one bit for each page of ``page_size`` bytes."""

    _fields_ = [
        ("iova", c_uint64),
        ("length", c_uint64),
        ("page_size", c_uint64),
        ("bitmap", c_uint64),
    ]


class vfio_region_info(ctypes.Structure):
    """Argument of VFIO_DEVICE_GET_REGION_INFO, followed by its capabilities."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("index", c_uint32),
        ("cap_offset", c_uint32),
        ("size", c_uint64),
        ("offset", c_uint64),
    ]


class vfio_region_sparse_mmap_area(ctypes.Structure):
    """One area, bytes from the start of its region."""

    _fields_ = [("offset", c_uint64), ("size", c_uint64)]


class vfio_region_info_cap_sparse_mmap(ctypes.Structure):
    """Run-time layout (id 1) and saving layout (id 6); ``nr_areas`` areas follow."""

    _fields_ = [
        ("header", vfio_info_cap_header),
        ("nr_areas", c_uint32),
        ("reserved", c_uint32),
        ("areas", vfio_region_sparse_mmap_area * 0),
    ]


class vfio_region_info_cap_type(ctypes.Structure):
    """Type of a device specific region (id 2)."""

    _fields_ = [("header", vfio_info_cap_header), ("type", c_uint32), ("subtype", c_uint32)]


class vfio_device_migration_info(ctypes.Structure):
    """Registers at the start of the migration region, protocol version 1."""

    _fields_ = [
        ("device_state", c_uint32),
        ("reserved", c_uint32),
        ("pending_bytes", c_uint64),
        ("data_offset", c_uint64),
        ("data_size", c_uint64),
    ]


class vfio_irq_info(ctypes.Structure):
    """Argument of VFIO_DEVICE_GET_IRQ_INFO."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("index", c_uint32),
        ("count", c_uint32),
    ]


class vfio_irq_set(ctypes.Structure):
    """Argument of VFIO_DEVICE_SET_IRQS, followed by its data."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("index", c_uint32),
        ("start", c_uint32),
        ("count", c_uint32),
        ("data", c_uint8 * 0),
    ]


class vfio_device_ioeventfd(ctypes.Structure):
    """Argument of VFIO_DEVICE_IOEVENTFD; since Linux 6.6 the last four bytes have a name."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("offset", c_uint64),
        ("data", c_uint64),
        ("fd", c_int32),
    ]


class vfio_pci_dependent_device(ctypes.Structure):
    """A function that a hot reset would reset as well."""

    _fields_ = [
        ("group_id", c_uint32),
        ("segment", c_uint16),
        ("bus", c_uint8),
        ("devfn", c_uint8),
    ]


class vfio_pci_hot_reset_info(ctypes.Structure):
    """Argument of VFIO_DEVICE_GET_PCI_HOT_RESET_INFO; ``count`` functions follow."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("count", c_uint32),
        ("devices", vfio_pci_dependent_device * 0),
    ]


class vfio_pci_hot_reset(ctypes.Structure):
    """Argument of VFIO_DEVICE_PCI_HOT_RESET; ``count`` descriptors of groups follow."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("count", c_uint32),
        ("group_fds", c_int32 * 0),
    ]


class vfio_device_bind_iommufd(ctypes.Structure):
    """Argument of VFIO_DEVICE_BIND_IOMMUFD; ``out_devid`` is the device's id in the iommufd."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("iommufd", c_int32),
        ("out_devid", c_uint32),
        ("token_uuid_ptr", c_uint64),
    ]


class vfio_device_attach_iommufd_pt(ctypes.Structure):
    """Argument of VFIO_DEVICE_ATTACH_IOMMUFD_PT; ``pt_id`` is that of an address space."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("pt_id", c_uint32),
        ("pasid", c_uint32),
    ]


class vfio_device_detach_iommufd_pt(ctypes.Structure):
    """Argument of VFIO_DEVICE_DETACH_IOMMUFD_PT."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("pasid", c_uint32),
    ]


class vfio_iommu_type1_info(ctypes.Structure):
    """Argument of VFIO_IOMMU_GET_INFO."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("iova_pgsizes", c_uint64),
        ("cap_offset", c_uint32),
        ("pad", c_uint32),
    ]


class vfio_iommu_type1_dma_map(ctypes.Structure):
    """Argument of VFIO_IOMMU_MAP_DMA, addresses and size in bytes."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("vaddr", c_uint64),
        ("iova", c_uint64),
        ("size", c_uint64),
    ]


class vfio_iommu_type1_dma_unmap(ctypes.Structure):
    """Argument of VFIO_IOMMU_UNMAP_DMA; the kernel writes back how much it unmapped."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("iova", c_uint64),
        ("size", c_uint64),
        ("data", c_uint8 * 0),
    ]


class vfio_bitmap(ctypes.Structure):
    """A bit for each page of ``pgsize`` bytes; ``size`` bytes of them at ``data``."""

    _fields_ = [
        ("pgsize", c_uint64),
        ("size", c_uint64),
        ("data", c_uint64),
    ]


class vfio_iommu_type1_dirty_bitmap(ctypes.Structure):
    """Head of the argument of VFIO_IOMMU_DIRTY_PAGES."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("data", c_uint8 * 0),
    ]


class vfio_iommu_type1_dirty_bitmap_get(ctypes.Structure):
    """What follows that head to get the bitmap of ``size`` bytes at ``iova``."""

    _fields_ = [
        ("iova", c_uint64),
        ("size", c_uint64),
        ("bitmap", vfio_bitmap),
    ]
