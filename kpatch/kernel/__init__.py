# SPDX-License-Identifier: GPL-2.0-only
"""A kernel build tree: its release, its features (probed), builds against it, its source."""
