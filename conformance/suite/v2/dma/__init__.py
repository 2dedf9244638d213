# SPDX-License-Identifier: GPL-2.0-only
"""What the IOMMU has to do with migration: DMA logging, containers, iommufds."""
