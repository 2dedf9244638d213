# SPDX-License-Identifier: GPL-2.0-only
"""A file for each command: its options, and a late import of what does it."""
