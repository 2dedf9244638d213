# SPDX-License-Identifier: GPL-2.0-only
"""Drivers that are not ours, built from the distribution's source of the kernel."""
