# SPDX-License-Identifier: GPL-2.0-only
"""Which mappings keep a device from being saved, counted to the page."""
