# SPDX-License-Identifier: GPL-2.0-only
"""The migration region itself: capabilities, accesses, the data section."""
