# SPDX-License-Identifier: GPL-2.0-only
"""What a device's DMA goes through: groups, the container or iommufd, and memory mapped there."""
