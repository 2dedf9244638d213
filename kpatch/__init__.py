# SPDX-License-Identifier: GPL-2.0-only
"""Turn a device description into a VFIO migration driver and its patch series."""
