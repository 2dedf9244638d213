# SPDX-License-Identifier: GPL-2.0-only
"""A guest's drivers of receive queues, and what makes devices receive."""
