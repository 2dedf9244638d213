# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark: what a driver costs, as ratios of one run."""
