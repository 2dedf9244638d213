# SPDX-License-Identifier: GPL-2.0-only
"""Processes which hold mappings and descriptors for a test."""
