# SPDX-License-Identifier: GPL-2.0-only
"""A device description: its model, how it is loaded, and what makes it valid."""
