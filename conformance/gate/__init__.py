# SPDX-License-Identifier: GPL-2.0-only
"""The gate of patch series: each patch is checked, built, and booted on request."""
