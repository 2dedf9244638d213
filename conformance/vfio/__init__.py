# SPDX-License-Identifier: GPL-2.0-only
"""Handles on the kernel: container, group, device, region, mapping, child processes, sysfs.

Nothing here judges: a call that fails raises :class:`OSError` with the kernel's errno, and a
transfer that is short returns what the kernel moved. What ought to happen is the suite's affair.
"""
