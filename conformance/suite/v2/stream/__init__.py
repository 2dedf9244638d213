# SPDX-License-Identifier: GPL-2.0-only
"""The migration data: reading, writing, pre-copy."""
