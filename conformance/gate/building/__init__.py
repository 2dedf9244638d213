# SPDX-License-Identifier: GPL-2.0-only
"""Configuring, building and booting the tree of a patch."""
