# SPDX-License-Identifier: GPL-2.0-only
"""Parties that map, touch and fork while saving begins, in processes of their own."""
