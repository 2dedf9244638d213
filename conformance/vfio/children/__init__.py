# SPDX-License-Identifier: GPL-2.0-only
"""Processes that hold mappings and descriptors for a test."""
