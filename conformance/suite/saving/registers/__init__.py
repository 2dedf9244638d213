# SPDX-License-Identifier: GPL-2.0-only
"""What reaches the device of accesses to trapped registers."""
