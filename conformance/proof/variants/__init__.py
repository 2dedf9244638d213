# SPDX-License-Identifier: GPL-2.0-only
"""Good drivers that differ in what the rules leave open."""
