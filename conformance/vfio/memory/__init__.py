# SPDX-License-Identifier: GPL-2.0-only
"""Mappings of a device's regions: areas, mmap and what /proc says of them."""
