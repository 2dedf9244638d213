# SPDX-License-Identifier: GPL-2.0-only
"""Judge VFIO migration drivers by what user space can see."""

__version__ = "0.1.0"
