# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's user API of VFIO as Python sees it: structs, constants, one ioctl call.

Names and layouts are those of ``include/uapi/linux/vfio.h`` (mirrored from Linux 6.12, with what
7.3 has more for migration; version 1 of the protocol carries the ``_V1_`` and ``_DEPRECATED`` names
that came with 5.18). A compiled test compares every size, offset and value that an installed header
has; what an older one lacks is compared where it exists.
"""
