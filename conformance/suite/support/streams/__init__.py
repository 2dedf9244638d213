# SPDX-License-Identifier: GPL-2.0-only
"""Streams that no device wrote: damaged, forged."""
