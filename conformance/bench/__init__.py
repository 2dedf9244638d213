# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark: the cost of a driver, as ratios within one run."""
