# SPDX-License-Identifier: GPL-2.0-only
"""Devices times kernels: many checks, one table."""
