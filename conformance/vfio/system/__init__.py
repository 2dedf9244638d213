# SPDX-License-Identifier: GPL-2.0-only
"""What the machine says of a function: sysfs, and who uses it."""
